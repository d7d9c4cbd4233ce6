"""A small published folder, written with the pipeline's own code: coloured squares with captions."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

from PIL import Image

from demo.shards import write_dataset

COLOURS = {
    "红色": (200, 30, 30),
    "绿色": (30, 180, 60),
    "蓝色": (30, 60, 200),
    "黄色": (220, 200, 40),
    "紫色": (140, 40, 160),
}
THINGS = ("方块", "墙壁", "汽车", "衣服", "花朵", "天空", "杯子", "气球")


def write_published(folder: Path, pairs: int, shards: int = 2, seed: int = 0, swapped: bool = False) -> Path:
    """`pairs` pairs in `shards` tars with their indexes; the caption names the colour, or if `swapped` any colour."""
    chance = random.Random(seed)
    return write_dataset(folder, (_pair(chance, swapped) for _ in range(pairs)), shards)


def _pair(chance: random.Random, swapped: bool) -> tuple[bytes, dict[str, Any]]:
    colour = chance.choice(list(COLOURS))
    image = _jpeg(COLOURS[colour], chance)
    row = {"source": chance.choice(["laion", "wukong"]), "caption": _caption(chance, colour, swapped)}
    return image, row | {"score": round(chance.uniform(0.2, 0.5), 3), "width": 64, "height": 64}


def _caption(chance: random.Random, colour: str, swapped: bool) -> str:
    return (chance.choice(list(COLOURS)) if swapped else colour) + chance.choice(THINGS) + "照片"


def _jpeg(colour: tuple[int, int, int], chance: random.Random) -> bytes:
    noisy = tuple(min(255, max(0, part + chance.randint(-25, 25))) for part in colour)
    image = Image.new("RGB", (64, 64), noisy)
    image.paste((255, 255, 255), (8, 8, 8 + chance.randint(4, 30), 8 + chance.randint(4, 30)))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
