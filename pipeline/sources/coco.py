"""MSCOCO's captions JSON, one row an annotation, and COCO-CN's text files, one row a line.

    captions_train2014.json    {"images": [{"id", "file_name", "coco_url", "flickr_url", "width", "height"}],
                                "annotations": [{"id", "image_id", "caption"}]}
    imageid.human-written-caption.txt    COCO_val2014_000000391895#0<TAB>文本

A row's number is the annotation's position in `annotations`, or the line's, from 0.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.sources.config import CocoSource
from pipeline.sources.files import open_file
from pipeline.sources.images import (
    IMAGES_SCHEMA,
    Addresses,
    flickr_id,
    id_of,
    images_table,
    number_of,
    of_images,
    one_each,
    text_of,
)
from pipeline.sources.json_items import JsonItems
from pipeline.sources.readers import Block, Unreadable
from pipeline.sources.splits import Split

BATCH = 32_768  # annotations, or lines, of one table
LINE = re.compile(r"(?P<name>COCO_[a-z]+\d{4}_\d{12})(?:\.jpg)?(?:#\w+)*\s+(?P<caption>.*\S)\s*")


def read_coco(split: Split, source: CocoSource) -> Iterator[Block | Unreadable]:
    """Tables with IMAGES_SCHEMA, `texts` (list of strings: the caption), and what it is called: `text_ids`, `text_names`.

    A text is known by the annotation's id, and as COCO-CN has it by the image's name and a number: the annotation's place
    among those of its image, in file order.
    """
    images = _images(split.file, _addresses(split, source))
    numbers = _annotations_before(split) if source.translation and source.translation.files else Counter()
    with open_file(split.file) as handle:
        items = itertools.islice(JsonItems(handle, split.start).rest(), split.rows)
        first = split.first_row
        while batch := list(itertools.islice(items, BATCH)):
            good = [number for number, item in enumerate(batch) if isinstance(item, dict)]
            yield Block(_table([batch[i] for i in good], images, numbers), first + np.array(good, dtype=np.int64))
            for number in sorted(set(range(len(batch))) - set(good)):
                yield Unreadable(first + number, 1, "malformed_row", f"no object: {batch[number]!r:.80}")
            first += len(batch)


def _table(annotations: list[dict[str, Any]], images: pa.Table, numbers: Counter[str | None]) -> pa.Table:
    image_ids = [id_of(item.get("image_id")) for item in annotations]
    table = of_images(images, image_ids)
    marks = []
    for image, name in zip(image_ids, table["name"].to_pylist(), strict=True):
        marks.append(name and f"{name}#{numbers[image]}")
        numbers[image] += 1
    return (
        table.append_column("texts", one_each([text_of(item.get("caption")) for item in annotations]))
        .append_column("text_ids", one_each([id_of(item.get("id")) for item in annotations]))
        .append_column("text_names", one_each(marks))
    )


def _annotations_before(split: Split) -> Counter[str | None]:
    """How many annotations each image has in front of a split."""
    with open_file(split.file) as handle:
        items = itertools.islice(JsonItems(handle).array("annotations"), split.first_row)
        return Counter(id_of(item.get("image_id")) for item in items if isinstance(item, dict))


def _addresses(split: Split, source: CocoSource) -> Addresses:
    return Addresses(split.source, bool(source.images), source.base_url)


@lru_cache(maxsize=2)
def _images(file: str, addresses: Addresses) -> pa.Table:
    """IMAGES_SCHEMA of a captions file; ValueError where it has none."""
    with open_file(file) as handle:
        images = (item for item in JsonItems(handle).array("images") if isinstance(item, dict))
        return images_table(
            {
                "image_id": id_of(image.get("id")),
                "name": (text_of(image.get("file_name")) or "").rpartition(".")[0] or None,
                "url": addresses.of(image),
                "width": number_of(image.get("width")),
                "height": number_of(image.get("height")),
                "coco_id": number_of(image.get("id")),
                "flickr_id": flickr_id(image.get("flickr_url")),
            }
            for image in images
        )


def read_coco_cn(split: Split, source: CocoSource) -> Iterator[Block | Unreadable]:
    """Tables with IMAGES_SCHEMA and `caption`; a line of another form is malformed, an empty one no row."""
    addresses = _addresses(split, source)
    with open_file(split.file) as handle:
        first = 0
        while lines := list(itertools.islice(handle, BATCH)):
            texts = [line.decode("utf-8-sig" if first + i == 0 else "utf-8", "replace") for i, line in enumerate(lines)]
            found = [(first + i, LINE.fullmatch(text)) for i, text in enumerate(texts) if text.strip()]
            good = [(row, match) for row, match in found if match]
            images = [_image_of(match["name"], addresses) for _, match in good]
            table = pa.Table.from_pylist(images, IMAGES_SCHEMA)
            captions = pa.array([match["caption"] for _, match in good], pa.string())
            yield Block(table.append_column("caption", captions), np.array([row for row, _ in good], dtype=np.int64))
            for row in (row for row, match in found if not match):
                detail = f"expected COCO_val2014_000000391895#0 and a caption; found {texts[row - first]!r:.80}"
                yield Unreadable(row, 1, "malformed_row", detail)
            first += len(lines)


def _image_of(name: str, addresses: Addresses) -> dict[str, Any]:
    number = int(name.rpartition("_")[2])
    url = addresses.of({"file_name": f"{name}.jpg"})
    return {"image_id": str(number), "name": name, "url": url, "coco_id": number}
