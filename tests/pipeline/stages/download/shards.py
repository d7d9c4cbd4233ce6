"""Rows, pictures and faulty children for tests of a shard's download."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.stages.download import shard

HANGING = 600  # seconds of a server's silence: more than any test takes
DEADLY = b"a picture that kills who decodes it"


def photo(seed: int = 0, kind: str = "JPEG") -> bytes:
    """A small picture."""
    pixels = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((400, 300)).save(buffer, kind)
    return buffer.getvalue()


def rows_of(urls: list[str | None]) -> pa.Table:
    """Rows with made-up keys, in an order that is not that of the keys."""
    keys = [f"{(number * 7919 + 13) % 10**6:032x}" for number in range(len(urls))]
    return pa.table({"key": keys, "url": urls, "caption": ["一张照片"] * len(urls), "row": range(len(urls))})


def use_child(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """Download with the real child, changed by some lines that stand before its `main` (`child`, `engine`, `writer`, `guard`
    are its modules)."""
    script = (
        "import os, signal, socket, sys, time\nfrom pathlib import Path\n"
        "from pipeline.stages.download import child, engine, guard, writer\n"
        f"{change}\nchild.main(Path(sys.argv[1]), writer.ShardWriter)"
    )
    monkeypatch.setattr(shard, "CHILD", [sys.executable, "-c", script])


DIES_OF_DEADLY = f"""
real = engine.resize
def resize(data, config, crop=None):
    if data == {DEADLY!r}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(data, config, crop)
engine.resize = resize
"""


def children_of(folder: Path) -> list[int]:
    """Process ids that children printed when they started."""
    lines = (folder / "child.log").read_text().splitlines()
    return [int(line.split()[2]) for line in lines if line.startswith("download child ")]


def check_tar(path: Path, table: pa.Table) -> None:
    """The tar holds exactly the rows that are ok, where the table says, with fixed metadata."""
    data = path.read_bytes()
    kept = [row for row in table.to_pylist() if row["status"] == "ok"]
    with tarfile.open(path) as tar:
        members = tar.getmembers()
    assert sorted(member.name for member in members) == sorted(f"{row['key']}.jpg" for row in kept)
    assert {(m.mtime, m.uid, m.gid, m.mode, m.uname, m.gname) for m in members} <= {(0, 0, 0, 0o644, "", "")}
    assert {data[member.offset + 257 : member.offset + 265] for member in members} <= {b"ustar\x0000"}
    assert not any(member.pax_headers for member in members)
    assert len(data) % tarfile.RECORDSIZE == 0
    offsets = {member.name: member.offset_data for member in members}
    for row in kept:
        assert row["offset"] == offsets[f"{row['key']}.jpg"]
        with Image.open(io.BytesIO(data[row["offset"] : row["offset"] + row["length"]])) as image:
            image.load()
            assert (image.format, *image.size) == ("JPEG", row["width"], row["height"])
        assert (row["original_width"], row["original_height"]) == (400, 300)
