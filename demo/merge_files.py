"""Writes image sets in their published formats: COCO, COCO-CN, Visual Genome, Karpathy's split, Chinese-CLIP's test sets."""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COCO_HOST = "http://images.cocodataset.org"  # stands in the metadata; the images themselves lie in a zip file


@dataclass(frozen=True)
class CocoImage:
    """An image of COCO."""

    number: int
    part: str  # train2014 or val2014
    size: tuple[int, int]  # width, height

    @property
    def file_name(self) -> str:
        """COCO_train2014_000000000009.jpg."""
        return f"COCO_{self.part}_{self.number:012d}.jpg"

    def annotation_id(self, number: int) -> int:
        """Of the image's caption of that number, from 0; unique in all files."""
        return 10 * self.number + number


@dataclass(frozen=True)
class Region:
    """A phrase about a part of an image."""

    number: int
    phrase: str
    box: tuple[int, int, int, int]  # x, y, width, height in pixels


@dataclass(frozen=True)
class GenomeImage:
    """An image of Visual Genome."""

    number: int
    url: str
    size: tuple[int, int]
    regions: list[Region]
    coco_id: int | None = None
    flickr_id: int | None = None


def write_coco(
    path: Path, images: Sequence[CocoImage], captions: Mapping[int, Sequence[str]]
) -> list[tuple[CocoImage, int]]:
    """captions_train2014.json, `captions` by image number; returns image and number of each annotation's caption, in file order."""
    longest = max((len(captions[image.number]) for image in images), default=0)
    order = [(image, i) for i in range(longest) for image in images if i < len(captions[image.number])]
    annotations = [
        {"image_id": image.number, "id": image.annotation_id(number), "caption": captions[image.number][number]}
        for image, number in order
    ]
    described = [
        {
            "license": 5,
            "file_name": image.file_name,
            "coco_url": f"{COCO_HOST}/{image.part}/{image.file_name}",
            "height": image.size[1],
            "width": image.size[0],
            "id": image.number,
        }
        for image in images
    ]
    write_json(path, {"info": {"year": 2014}, "images": described, "licenses": [], "annotations": annotations})
    return order


def write_coco_cn(path: Path, captions: Sequence[tuple[CocoImage, str]]) -> None:
    """imageid.human-written-caption.txt: an image and its caption a line."""
    lines = (f"{Path(image.file_name).stem}#0\t{text}\n" for image, text in captions)
    path.write_text("".join(lines), encoding="utf-8")


def write_karpathy(path: Path, splits: Iterable[tuple[CocoImage, str]]) -> None:
    """dataset_coco.json: an image and its split: train, restval, val or test."""
    images = [
        {"filepath": image.part, "filename": image.file_name, "cocoid": image.number, "split": split, "sentences": []}
        for image, split in splits
    ]
    write_json(path, {"images": images, "dataset": "coco"})


def write_genome(folder: Path, images: Sequence[GenomeImage]) -> None:
    """region_descriptions.json and image_data.json."""
    write_json(
        folder / "region_descriptions.json",
        [
            {"id": image.number, "regions": [_region(image.number, region) for region in image.regions]}
            for image in images
        ],
    )
    write_json(
        folder / "image_data.json",
        [
            {
                "image_id": image.number,
                "url": image.url,
                "width": image.size[0],
                "height": image.size[1],
                "coco_id": image.coco_id,
                "flickr_id": image.flickr_id,
            }
            for image in images
        ],
    )


def _region(image: int, region: Region) -> dict[str, Any]:
    x, y, width, height = region.box
    return {
        "region_id": region.number,
        "width": width,
        "height": height,
        "image_id": image,
        "phrase": region.phrase,
        "x": x,
        "y": y,
    }


def write_zip(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """A zip of images, stored as they are, with a fixed date: equal images, equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files:
            archive.writestr(zipfile.ZipInfo(name), content)


def write_evaluation_set(folder: Path, images: Mapping[str, tuple[bytes, str]]) -> None:
    """Chinese-CLIP's layout, id → image and caption: test_imgs.tsv (URL-safe base64) and test_texts.jsonl."""
    folder.mkdir(parents=True)
    rows = (f"{name}\t{base64.urlsafe_b64encode(image).decode()}\n" for name, (image, _) in images.items())
    (folder / "test_imgs.tsv").write_text("".join(rows), encoding="utf-8")
    texts = (
        json.dumps({"text_id": 500000 + i, "text": text, "image_ids": [int(name)]}, ensure_ascii=False) + "\n"
        for i, (name, (_, text)) in enumerate(images.items())
    )
    (folder / "test_texts.jsonl").write_text("".join(texts), encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """JSON in UTF-8."""
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
