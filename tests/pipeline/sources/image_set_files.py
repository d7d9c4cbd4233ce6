"""Small files in the published formats of MSCOCO, Visual Genome and COCO-CN, with real JPEGs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.sources.base import Source
from pipeline.sources.splits import Block, Unreadable


def jpeg(seed: int, size: tuple[int, int] = (80, 60)) -> bytes:
    """A small picture, another one for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def coco_name(number: int, part: str = "train2014") -> str:
    """The file name of an image of COCO."""
    return f"COCO_{part}_{number:012d}.jpg"


def coco_image(number: int, base: str = "http://images.cocodataset.org") -> dict[str, Any]:
    """An entry of `images`."""
    return {
        "license": 5,
        "file_name": coco_name(number),
        "coco_url": f"{base}/train2014/{coco_name(number)}",
        "height": 60,
        "width": 80,
        "date_captured": "2013-11-14 16:28:13",
        "flickr_url": f"http://farm4.staticflickr.com/3153/{2970770000 + number}_164f0c0b83_z.jpg",
        "id": number,
    }


def write_coco(path: Path, numbers: list[int], each: int = 2, base: str = "http://images.cocodataset.org") -> Path:
    """captions_train2014.json: `each` annotations an image, dealt out in turn; annotation ids are 10·image + take."""
    annotations = [
        {"image_id": number, "id": 10 * number + take, "caption": f" Cat {number} sleeps, take {take}.\n"}
        for take in range(each)
        for number in numbers
    ]
    content = {
        "info": {"year": 2014},
        "images": [coco_image(number, base) for number in numbers],
        "licenses": [{"id": 1}],
    }
    path.write_text(json.dumps({**content, "annotations": annotations}), encoding="utf-8")
    return path


def region(number: int, image: int, phrase: str, box: tuple[int, int, int, int] = (10, 10, 40, 30)) -> dict[str, Any]:
    """An entry of `regions`."""
    x, y, width, height = box
    return {
        "region_id": number,
        "width": width,
        "height": height,
        "image_id": image,
        "phrase": phrase,
        "y": y,
        "x": x,
    }


def write_regions(path: Path, images: dict[int, list[dict[str, Any]]]) -> Path:
    """region_descriptions.json."""
    path.write_text(json.dumps([{"regions": regions, "id": image} for image, regions in images.items()]))
    return path


def write_image_data(
    path: Path, images: dict[int, tuple[int | None, int | None]], base: str = "https://cs.stanford.edu/people/rak248"
) -> Path:
    """image_data.json of images with (coco_id, flickr_id)."""
    content = [
        {
            "width": 80,
            "url": f"{base}/VG_100K/{image}.jpg",
            "height": 60,
            "image_id": image,
            "coco_id": coco,
            "flickr_id": flickr,
        }
        for image, (coco, flickr) in images.items()
    ]
    path.write_text(json.dumps(content))
    return path


def read_all(name: str, source: Source, split_rows: int = 1000) -> tuple[list[dict[str, Any]], list[Unreadable]]:
    """Rows of a source called `name`, with their positions, and what cannot be read."""
    rows, bad = [], []
    for split in source.splits(name, split_rows):
        for piece in source.read(split):
            if isinstance(piece, Block):
                rows += [
                    {**row, "row": int(at)} for row, at in zip(piece.table.to_pylist(), piece.positions, strict=True)
                ]
            else:
                bad.append(piece)
    return rows, bad
