"""Writes pairs as a published data set: one tar, its index, its manifest. For pairs that were never curated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.run.tar import END_OF_TAR, sample_members


def write_dataset(folder: Path, pairs: Iterable[tuple[bytes, Mapping[str, Any]]], shards: int = 1) -> Path:
    """Writes JPEGs with their columns (`caption`, `source` and any others) to `folder`, in key order, dealt out to shards."""
    folder.mkdir(parents=True)
    keyed = sorted((_key(image, columns), image, columns) for image, columns in pairs)
    names = [f"{number:06d}" for number in range(shards)]
    for number, name in enumerate(names):
        rows = _write_tar(folder / f"{name}.tar", keyed[number::shards])
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    files: list[dict[str, Any]] = [{"files": {f"{name}.tar": {}, f"{name}.parquet": {}}} for name in names]
    (folder / "manifest.json").write_text(json.dumps({"shards": files}), encoding="utf-8")
    return folder


def _key(image: bytes, columns: Mapping[str, Any]) -> str:
    return hashlib.md5(image + json.dumps(columns, sort_keys=True).encode()).hexdigest()


def _write_tar(path: Path, pairs: list[tuple[str, bytes, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    rows, position = [], 0
    with path.open("wb") as tar:
        for key, image, columns in pairs:
            row = {"key": key, **columns, "image_sha256": hashlib.sha256(image).hexdigest()}
            sample = sample_members(key, image, row)
            location = {"tar": path.name, "offset": position + sample.image_offset, "length": len(image)}
            rows.append({**row, **location})
            position += tar.write(sample.content)
        tar.write(END_OF_TAR)
    return rows
