"""A small published folder, written with the pipeline's own code: coloured squares with captions."""

from __future__ import annotations

import hashlib
import io
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.tar import END_OF_TAR, sample_members

COLOURS = {
    "红色": (200, 30, 30),
    "绿色": (30, 180, 60),
    "蓝色": (30, 60, 200),
    "黄色": (220, 200, 40),
    "紫色": (140, 40, 160),
}
THINGS = ("方块", "墙壁", "汽车", "衣服", "花朵", "天空", "杯子", "气球")


def write_published(folder: Path, pairs: int, shards: int = 2, seed: int = 0) -> Path:
    """`pairs` pairs in `shards` tars with their indexes; the caption names the colour."""
    folder.mkdir(parents=True)
    chance = random.Random(seed)
    keys = sorted(hashlib.md5(f"{seed}-{number}".encode()).hexdigest() for number in range(pairs))
    for shard in range(shards):
        rows, position = [], 0
        with (folder / f"{shard:06d}.tar").open("wb") as tar:
            for key in keys[shard::shards]:
                colour = chance.choice(list(COLOURS))
                image = _jpeg(COLOURS[colour], chance)
                row = {
                    "key": key,
                    "source": chance.choice(["laion", "wukong"]),
                    "caption": colour + chance.choice(THINGS) + "照片",
                }
                row |= {"score": round(chance.uniform(0.2, 0.5), 3), "width": 64, "height": 64}
                row |= {"image_sha256": hashlib.sha256(image).hexdigest()}
                sample = sample_members(key, image, row)
                rows.append(
                    {**row, "tar": f"{shard:06d}.tar", "offset": position + sample.image_offset, "length": len(image)}
                )
                position += tar.write(sample.content)
            tar.write(END_OF_TAR)
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{shard:06d}.parquet")
    files = [{"files": {f"{shard:06d}.{ending}": {} for ending in ("tar", "parquet")}} for shard in range(shards)]
    (folder / "manifest.json").write_text(json.dumps({"shards": files}))
    return folder


def _jpeg(colour: tuple[int, int, int], chance: random.Random) -> bytes:
    noisy = tuple(min(255, max(0, part + chance.randint(-25, 25))) for part in colour)
    image = Image.new("RGB", (64, 64), noisy)
    image.paste((255, 255, 255), (8, 8, 8 + chance.randint(4, 30), 8 + chance.randint(4, 30)))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
