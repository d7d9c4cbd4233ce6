"""Published folders in miniature: real JPEGs in tars, and their indexes."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

Publish = Callable[..., Path]


def jpeg(number: int, width: int = 40, height: int = 32) -> bytes:
    """A smooth picture, another for each number."""
    coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(content, "JPEG", quality=90)
    return content.getvalue()


@pytest.fixture
def publish(tmp_path: Path) -> Publish:
    """publish(pairs, shards, broken=(), name="dataset") → a folder of `pairs` pairs; those numbered in `broken` are cut off.

    Pair i has the caption 图片i, the score i/pairs and the source laion, every third one wukong. Pairs lie in key order.
    """

    def make(pairs: int, shards: int = 1, broken: tuple[int, ...] = (), name: str = "dataset") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        rows = [
            {
                "key": hashlib.md5(f"{name}{i}".encode()).hexdigest(),
                "source": "wukong" if i % 3 == 2 else "laion",
                "caption": f"图片{i}",
                "score": i / pairs,
                "number": i,
            }
            for i in range(pairs)
        ]
        rows.sort(key=lambda row: row["key"])
        listed = []
        for shard, part in enumerate(np.array_split(np.arange(pairs), shards)):
            _write_shard(folder, f"{shard:06}", [rows[i] for i in part], broken)
            listed.append({"shard": f"{shard:06}", "files": {f"{shard:06}.parquet": {}, f"{shard:06}.tar": {}}})
        (folder / "manifest.json").write_text(json.dumps({"shards": listed}))
        return folder

    return make


def _write_shard(folder: Path, shard: str, rows: list[dict], broken: tuple[int, ...]) -> None:
    with tarfile.open(folder / f"{shard}.tar", "w") as tar:
        for row in rows:
            content = jpeg(row["number"])
            if row["number"] in broken:
                content = content[: len(content) // 2]
            member = tarfile.TarInfo(f"{row['key']}.jpg")
            member.size = len(content)
            row |= {"tar": f"{shard}.tar", "length": len(content), "offset": tar.offset + 512}
            tar.addfile(member, io.BytesIO(content))
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{shard}.parquet")
