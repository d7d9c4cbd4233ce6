"""The hash of what a downloaded shard holds does not depend on the order in which images came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.run.tar import TarWriter
from pipeline.stages.download.content import content_of, stored_hashes
from pipeline.stages.download.writer import OUTCOME_SCHEMA

IMAGES = {"a" * 32: b"first", "b" * 32: b"second", "d" * 32: b""}


def content(folder: Path, order: str, images: dict[str, bytes] = IMAGES, **changed: Any) -> str:
    """Of a shard of four pairs, of which `c` failed, whose images came in an order."""
    folder.mkdir()
    tar, offsets = TarWriter(folder / "images.tar"), {}
    for letter in order:
        offsets[letter * 32] = tar.add(f"{letter * 32}.jpg", images[letter * 32])
    tar.close()
    rows: list[dict[str, Any]] = [
        {"key": key, "status": "ok", "offset": offsets[key], "length": len(image), "width": 8}
        for key, image in images.items()
    ]
    failed = {"key": "c" * 32, "status": "failed", "reason": "timeout", "detail": f"after {order}"}
    table = pa.Table.from_pylist([*rows[:2], {**failed, **changed}, *rows[2:]], schema=OUTCOME_SCHEMA)
    return content_of(table, stored_hashes(table, folder / "images.tar"))


def test_it_is_of_what_is_there_in_key_order(tmp_path: Path) -> None:
    known = content(tmp_path / "known", "abd")
    assert content(tmp_path / "turned", "dba") == known
    assert content(tmp_path / "other reason", "abd", reason="http_404") != known
    assert content(tmp_path / "other image", "abd", {**IMAGES, "a" * 32: b"frist"}) != known
    assert content(tmp_path / "exchanged", "abd", {**IMAGES, "a" * 32: b"second", "b" * 32: b"first"}) != known


def test_of_a_shard_without_pairs(tmp_path: Path) -> None:
    TarWriter(tmp_path / "images.tar").close()
    table = OUTCOME_SCHEMA.empty_table()
    assert len(content_of(table, stored_hashes(table, tmp_path / "images.tar"))) == 64
