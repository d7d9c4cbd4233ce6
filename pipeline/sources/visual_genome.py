"""Visual Genome's region descriptions: an image with its phrases, one row an image or one row a region.

    region_descriptions.json   [{"id", "regions": [{"region_id", "image_id", "phrase", "x", "y", "width", "height"}]}]
    image_data.json            [{"image_id", "url", "width", "height", "coco_id", "flickr_id"}]

A row's number is the image's position in the file, or the region's, counted through all images, from 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.config import VisualGenomeSource
from pipeline.sources.files import open_file
from pipeline.sources.images import Addresses, id_of, images_table, number_of, of_images, one_each, text_of
from pipeline.sources.json_items import JsonItems
from pipeline.sources.readers import Block, Unreadable
from pipeline.sources.splits import Split, contents

BATCH = 1_024  # images of one table; about 50 regions each
NO_IMAGE = "expected an object with a list of `regions`"
Region = dict[str, Any]


def read_visual_genome(split: Split, source: VisualGenomeSource) -> Iterator[Block | Unreadable]:
    """Tables with IMAGES_SCHEMA, `texts` (list of strings: the phrases) and `text_ids` (of the regions).

    Of a region, `width` and `height` are its own, and its url ends in #xywh=x,y,width,height.
    """
    images = load_image_data(source.image_data, Addresses(split.source, bool(source.images)))
    table_of = _joined if source.pairs == "joined" else _regions
    with open_file(split.file) as handle:
        items, row = _items(JsonItems(handle, split.start), split), split.first_row
        while batch := list(itertools.islice(items, BATCH)):
            sizes = np.array([contents(item, split.format)[0] for item in batch], dtype=np.int64)
            rows = row + np.concatenate([[0], np.cumsum(sizes)])
            good = [number for number, item in enumerate(batch) if _is_image(item)]
            yield from table_of([(int(rows[i]), batch[i]) for i in good], images)
            for number in sorted(set(range(len(batch))) - set(good)):
                yield Unreadable(int(rows[number]), 1, "malformed_row", f"{NO_IMAGE}; found {batch[number]!r:.80}")
            row = int(rows[-1])


def _items(reader: JsonItems, split: Split) -> Iterator[Any]:
    """The items that make the rows of a split, and nothing beyond them: what follows may be damaged."""
    left = split.rows or 0
    for item in reader.rest():
        yield item
        left -= contents(item, split.format)[0]
        if left <= 0:
            return


def _is_image(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("regions"), list)


def _joined(numbered: list[tuple[int, dict[str, Any]]], images: pa.Table) -> Iterator[Block | Unreadable]:
    regions = [[one for one in item["regions"] if isinstance(one, dict)] for _, item in numbered]
    ids = [_image_id(item, own) for (_, item), own in zip(numbered, regions, strict=True)]
    offsets = pa.array(np.concatenate([[0], np.cumsum([len(own) for own in regions])]), pa.int32())
    table = of_images(images, ids)
    for name, values in _texts([one for own in regions for one in own]).items():
        table = table.append_column(name, pa.ListArray.from_arrays(offsets, values))
    yield Block(table, np.array([row for row, _ in numbered], dtype=np.int64))


def _regions(numbered: list[tuple[int, dict[str, Any]]], images: pa.Table) -> Iterator[Block | Unreadable]:
    flat = [(first + i, item, one) for first, item in numbered for i, one in enumerate(item["regions"])]
    good = [(row, item, one) for row, item, one in flat if isinstance(one, dict)]
    regions = [one for _, _, one in good]
    table = of_images(images, [_image_id(item, [one]) for _, item, one in good])
    boxes = pa.array([_fragment(one) for one in regions], pa.string())
    table = table.set_column(
        table.column_names.index("url"), "url", pc.binary_join_element_wise(table["url"], boxes, "")
    )
    for name in ("width", "height"):
        own = pa.array([number_of(one.get(name)) for one in regions], pa.int64())
        table = table.set_column(table.column_names.index(name), name, own)
    for name, values in _texts(regions).items():
        table = table.append_column(name, one_each(values))
    yield Block(table, np.array([row for row, _, _ in good], dtype=np.int64))
    for row, _, one in flat:
        if not isinstance(one, dict):
            yield Unreadable(row, 1, "malformed_row", f"expected a region; found {one!r:.80}")


def _texts(regions: list[Region]) -> dict[str, pa.Array]:
    return {
        "texts": pa.array([text_of(one.get("phrase")) for one in regions], pa.string()),
        "text_ids": pa.array([id_of(one.get("region_id", one.get("id"))) for one in regions], pa.string()),
    }


def _image_id(item: dict[str, Any], regions: list[Region]) -> str | None:
    return id_of(item.get("id", item.get("image_id"))) or next((id_of(one.get("image_id")) for one in regions), None)


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
