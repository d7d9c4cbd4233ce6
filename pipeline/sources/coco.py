"""MSCOCO's captions JSON, one row an annotation; or COCO-CN's captions of the same images (see `coco_cn`).

    captions_train2014.json    {"images": [{"id", "file_name", "coco_url", "flickr_url", "width", "height"}],
                                "annotations": [{"id", "image_id", "caption"}]}

A row's number is the annotation's position in `annotations`, from 0.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import model_validator

from foundation.config import value
from pipeline.sources.coco_cn import read_coco_cn
from pipeline.sources.columns import as_singleton_lists
from pipeline.sources.files import open_file
from pipeline.sources.image_set import ImageSetSource
from pipeline.sources.images import Addresses, flickr_id, id_of, images_table, lookup_images, number_of, text_of
from pipeline.sources.json_items import JsonItems
from pipeline.sources.json_splits import json_splits
from pipeline.sources.splits import Block, Split, Unreadable

BATCH = 32_768  # annotations of one table


class CocoSource(ImageSetSource):
    """MSCOCO captions (captions_train2014.json and its like), or COCO-CN's Chinese captions of the same images."""

    kind: Literal["coco"]
    captions: Literal["json", "coco_cn"] = value(
        "json", "json: COCO's own, one pair an annotation; coco_cn: imageid.human-written-caption.txt, one pair a line"
    )
    base_url: str = value(
        "http://images.cocodataset.org", "where images lie whose url the file does not state: BASE/train2014/NAME.jpg"
    )

    @model_validator(mode="after")
    def _chinese_as_it_is(self) -> Self:
        if self.captions == "coco_cn" and self.translation:
            raise ValueError("`captions: coco_cn` is Chinese already: it takes no `translation`")
        return self

    def file_format(self, file: str) -> str:  # noqa: ARG002
        """coco or coco_cn."""
        return "coco" if self.captions == "json" else "coco_cn"

    def split_file(self, name: str, file: str, rows_per_split: int) -> Iterator[Split]:
        """Pieces of `annotations`; a file of COCO-CN is one split."""
        if self.captions == "coco_cn":
            return super().split_file(name, file, rows_per_split)
        arrays = ("images", "annotations")
        return json_splits(name, file, self.file_format(file), rows_per_split, arrays, lambda _: (1, 1))

    def read_split(self, split: Split) -> Iterator[Block | Unreadable]:
        """Tables with IMAGES_SCHEMA and `texts`, or with `caption` where that is Chinese."""
        addresses = Addresses(split.source, bool(self.images), self.base_url)
        if self.captions == "coco_cn":
            return read_coco_cn(split.file, addresses)
        return _read_annotations(split, addresses, named=bool(self.translation and self.translation.files))


def _read_annotations(split: Split, addresses: Addresses, *, named: bool) -> Iterator[Block | Unreadable]:
    """Tables with IMAGES_SCHEMA, `texts` (list of strings: the caption), and what it is called: `text_ids`, `text_names`.

    A text is known by the annotation's id, and as COCO-CN has it by the image's name and a number: the annotation's place
    among those of its image, in file order. The numbers are right only where they are asked for, by `named`: they cost
    reading all that is before the split.
    """
    images = _images(split.file, addresses)
    numbers = _annotations_before(split) if named else Counter()
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
    table = lookup_images(images, image_ids)
    text_names = []
    for image, name in zip(image_ids, table["name"].to_pylist(), strict=True):
        text_names.append(name and f"{name}#{numbers[image]}")
        numbers[image] += 1
    columns = {
        "texts": [text_of(item.get("caption")) for item in annotations],
        "text_ids": [id_of(item.get("id")) for item in annotations],
        "text_names": text_names,
    }
    for column, values in columns.items():
        table = table.append_column(column, as_singleton_lists(pa.array(values, pa.string())))
    return table


def _annotations_before(split: Split) -> Counter[str | None]:
    """How many annotations each image has in front of a split."""
    with open_file(split.file) as handle:
        items = itertools.islice(JsonItems(handle).array("annotations"), split.first_row)
        return Counter(id_of(item.get("image_id")) for item in items if isinstance(item, dict))


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
