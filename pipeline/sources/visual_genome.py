"""Visual Genome's region descriptions: an image with its phrases, one row an image or one row a region.

    region_descriptions.json   [{"id", "regions": [{"region_id", "image_id", "phrase", "x", "y", "width", "height"}]}]
    image_data.json            [{"image_id", "url", "width", "height", "coco_id", "flickr_id"}]

A row's number is the image's position in the file, or the region's, counted through all images, from 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import model_validator

from filters.caption import CaptionLength
from foundation.config import value
from pipeline.sources.captions import ENGLISH_JOINER
from pipeline.sources.columns import as_singleton_lists
from pipeline.sources.files import open_file
from pipeline.sources.image_set import ImageSetSource
from pipeline.sources.images import Addresses, id_of, images_table, lookup_images, number_of, text_of
from pipeline.sources.json_items import JsonItems
from pipeline.sources.json_splits import json_splits
from pipeline.sources.splits import Block, Split, Unreadable

MAX_JOINED = 300
"""Default bound of a joined caption. Chinese-CLIP reads 52 tokens of a caption (paper, section 3.1), about 50 characters; the
rest serves longer text towers."""

BATCH = 1_024  # images of one table; about 50 regions each
Region = dict[str, Any]


class VisualGenomeSource(ImageSetSource):
    """Visual Genome's region_descriptions.json: an image with its phrases joined, or each region by itself."""

    kind: Literal["visual_genome"]
    image_data: str = value(..., "image_data.json: urls, sizes, and the ids of COCO and Flickr")
    pairs: Literal["joined", "regions"] = value(
        "joined",
        "joined: an image with all its phrases (paper, section 2.2); regions: each region, cut out of its image",
    )
    joiner: str = value("，", "between the phrases of a joined caption")
    max_joined: int = value(
        MAX_JOINED,
        "longest joined caption: phrases that would go beyond it are left out, whole; where `rules` do not speak of length, "
        "caption_length.max is the same",
        "characters",
        ge=1,
    )

    @model_validator(mode="before")
    @classmethod
    def _rules_for_joined_captions(cls, given: Any) -> Any:
        """Rules that do not speak of length are not to reject what `max_joined` allows."""
        if not isinstance(given, dict) or given.get("pairs", "joined") != "joined":
            return given
        rules, longest = given.get("rules", {}), given.get("max_joined", MAX_JOINED)
        if not isinstance(rules, dict) or "caption_length" in rules or not isinstance(longest, int):
            return given
        shortest = CaptionLength.model_fields["min"].default
        return {**given, "rules": {**rules, "caption_length": {"max": max(longest, shortest)}}}

    @model_validator(mode="after")
    def _joined_captions_fit(self) -> Self:
        longest = self.rules.caption_length.max
        if self.pairs == "joined" and self.max_joined > longest:
            raise ValueError(
                f"max_joined ({self.max_joined}) must not exceed rules.caption_length.max ({longest}), or full captions are "
                "rejected"
            )
        return self

    def file_format(self, file: str) -> str:  # noqa: ARG002
        """By what makes a row."""
        return f"visual_genome_{self.pairs}"

    def split_file(self, name: str, file: str, rows_per_split: int) -> Iterator[Split]:
        """Images with about `rows_per_split` phrases together."""
        return json_splits(name, file, self.file_format(file), rows_per_split, ("",), self._measure)

    def read_split(self, split: Split) -> Iterator[Block | Unreadable]:
        """Tables with IMAGES_SCHEMA, `texts` (list of strings: the phrases) and `text_ids` (of the regions).

        Of a region, `width` and `height` are its own, and its url ends in #xywh=x,y,width,height.
        """
        images = self._image_data(split.source)
        table_of = _joined if self.pairs == "joined" else _regions
        with open_file(split.file) as handle:
            items, row = self._items(JsonItems(handle, split.start), split), split.first_row
            while batch := list(itertools.islice(items, BATCH)):
                sizes = np.array([self._measure(item)[0] for item in batch], dtype=np.int64)
                rows = row + np.concatenate([[0], np.cumsum(sizes)])
                good = [number for number, item in enumerate(batch) if _is_image(item)]
                yield from table_of([(int(rows[i]), batch[i]) for i in good], images)
                for number in sorted(set(range(len(batch))) - set(good)):
                    detail = f"expected an object with a list of `regions`; found {batch[number]!r:.80}"
                    yield Unreadable(int(rows[number]), 1, "malformed_row", detail)
                row = int(rows[-1])

    def _measure(self, item: Any) -> tuple[int, int]:
        """Rows and texts of an item; what is no image makes a malformed row."""
        if not _is_image(item):
            return 1, 1
        texts = len(item["regions"])
        return (1, texts) if self.pairs == "joined" else (texts, texts)

    def _items(self, reader: JsonItems, split: Split) -> Iterator[Any]:
        """The items that make the rows of a split, and nothing beyond them: what follows may be damaged."""
        left = split.rows or 0
        for item in reader.rest():
            yield item
            left -= self._measure(item)[0]
            if left <= 0:
                return

    def _image_data(self, name: str) -> pa.Table:
        return load_image_data(self.image_data, Addresses(name, bool(self.images)))

    def joining(self) -> tuple[str, int | None]:
        """`joiner` and `max_joined`; without a translation, English is joined as English."""
        return (self.joiner if self.translation else ENGLISH_JOINER), self.max_joined

    def lists(self) -> set[str]:
        """With the image data."""
        return super().lists() | {self.image_data}

    def checks(self, name: str) -> dict[str, Callable[[], object]]:
        """The image data, too."""
        return {"image_data": lambda: self._image_data(name), **super().checks(name)}


def _is_image(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("regions"), list)


def _joined(numbered: list[tuple[int, dict[str, Any]]], images: pa.Table) -> Iterator[Block | Unreadable]:
    regions_by_image = [[region for region in item["regions"] if isinstance(region, dict)] for _, item in numbered]
    ids = [_image_id(item, regions) for (_, item), regions in zip(numbered, regions_by_image, strict=True)]
    offsets = pa.array(np.concatenate([[0], np.cumsum([len(regions) for regions in regions_by_image])]), pa.int32())
    table = lookup_images(images, ids)
    for name, values in _texts([region for regions in regions_by_image for region in regions]).items():
        table = table.append_column(name, pa.ListArray.from_arrays(offsets, values))
    yield Block(table, np.array([row for row, _ in numbered], dtype=np.int64))


def _regions(numbered: list[tuple[int, dict[str, Any]]], images: pa.Table) -> Iterator[Block | Unreadable]:
    flat = [(first + i, item, region) for first, item in numbered for i, region in enumerate(item["regions"])]
    good = [(row, item, region) for row, item, region in flat if isinstance(region, dict)]
    regions = [region for _, _, region in good]
    table = lookup_images(images, [_image_id(item, [region]) for _, item, region in good])
    boxes = pa.array([_fragment(region) for region in regions], pa.string())
    table = _replaced(table, "url", pc.binary_join_element_wise(table["url"], boxes, ""))
    for name in ("width", "height"):
        sizes = [number_of(region.get(name)) for region in regions]
        table = _replaced(table, name, pa.array(sizes, pa.int64()))
    for name, values in _texts(regions).items():
        table = table.append_column(name, as_singleton_lists(values))
    yield Block(table, np.array([row for row, _, _ in good], dtype=np.int64))
    for row, _, region in flat:
        if not isinstance(region, dict):
            yield Unreadable(row, 1, "malformed_row", f"expected a region; found {region!r:.80}")


def _replaced(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def _texts(regions: list[Region]) -> dict[str, pa.Array]:
    return {
        "texts": pa.array([text_of(region.get("phrase")) for region in regions], pa.string()),
        "text_ids": pa.array([id_of(region.get("region_id", region.get("id"))) for region in regions], pa.string()),
    }


def _image_id(item: dict[str, Any], regions: list[Region]) -> str | None:
    """The image's own id, else the one that its first region names."""
    region_ids = (id_of(region.get("image_id")) for region in regions)
    return id_of(item.get("id", item.get("image_id"))) or next(region_ids, None)


def _fragment(region: Region) -> str | None:
    """#xywh=…, or None where a number is missing: such a row then has no url, and is rejected for that."""
    box = [number_of(region.get(name)) for name in ("x", "y", "width", "height")]
    return None if None in box else "#xywh=" + ",".join(map(str, box))


@lru_cache(maxsize=2)
def load_image_data(path: str, addresses: Addresses) -> pa.Table:
    """IMAGES_SCHEMA of image_data.json.

    Raises:
        ValueError: it is damaged, or holds something else.
    """
    try:
        with open_file(path) as handle:
            images = list(JsonItems(handle).array(""))
        if not images or not all(isinstance(image, dict) and {"image_id", "id"} & set(image) for image in images):
            raise ValueError("expected a list of images, each with `image_id` and `url`")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return images_table(
        {
            "image_id": (number := id_of(image.get("image_id", image.get("id")))),
            "name": number,
            "url": addresses.of({"file_name": f"{number}.jpg", **image}),
            "width": number_of(image.get("width")),
            "height": number_of(image.get("height")),
            "coco_id": number_of(image.get("coco_id")),
            "flickr_id": number_of(image.get("flickr_id")),
        }
        for image in images
    )
