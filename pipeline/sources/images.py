"""Where the image of a row lies: its url as published, or its place in the source's own folders and zip files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.local_images import local_url

COCO_NAME = re.compile(r"COCO_(?P<folder>(?:train|val|test)\d{4})_\d{12}\.jpg$")
FLICKR_PHOTO = re.compile(r"/(\d+)_[0-9a-f]+(?:_[a-z])?\.jpg$")  # of a photo's address on Flickr's servers

IMAGES_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string()),
        pa.field("name", pa.string()),  # of its file, without ending
        pa.field("url", pa.string()),
        pa.field("width", pa.int64()),
        pa.field("height", pa.int64()),
        pa.field("coco_id", pa.int64()),
        pa.field("flickr_id", pa.int64()),
    ]
)
"""What is known of an image, whatever pairs it is in."""

Image = dict[str, Any]


@dataclass(frozen=True)
class Addresses:
    """How a source's images get their urls.

    Args:
        source: its name.
        local: whether the source has `images` of its own.
        base_url: where images lie whose url the data set does not state, as images.cocodataset.org has them.
    """

    source: str
    local: bool
    base_url: str = ""

    def of(self, image: Image) -> str | None:
        """The url of an image, by its `coco_url` or `url`, else by its `file_name`; None where nothing is known."""
        given, name = text_of(image.get("coco_url")) or text_of(image.get("url")), text_of(image.get("file_name"))
        if not self.local:
            return given or self._published(name)
        place = _last_parts(given) if given else _in_archive(name)
        return local_url(self.source, place) if place else None

    def _published(self, name: str | None) -> str | None:
        """BASE/train2014/COCO_train2014_000000000009.jpg; None for another kind of name."""
        found = COCO_NAME.match(name or "")
        return f"{self.base_url.rstrip('/')}/{found['folder']}/{name}" if found and self.base_url else None


def _in_archive(name: str | None) -> str | None:
    """The path inside COCO's archives; of another kind of name, the name itself."""
    found = COCO_NAME.match(name or "")
    return f"{found['folder']}/{name}" if found else name


def _last_parts(url: str) -> str | None:
    """`train2014/NAME.jpg` or `VG_100K/1.jpg`: folder and file of an image's url, which its published archive has too."""
    try:
        path = urlsplit(url).path
    except ValueError:  # unbalanced brackets, deceptive characters
        return None
    return "/".join(part for part in unquote(path).split("/")[-2:] if part) or None


def published_url(file_name: str | None, base: str) -> str | None:
    """BASE/train2014/COCO_train2014_000000000009.jpg, as images.cocodataset.org has it; None for another kind of name."""
    found = COCO_NAME.match(file_name or "")
    return f"{base.rstrip('/')}/{found['folder']}/{file_name}" if found and base else None


def published_path(file_name: str | None) -> str | None:
    """The path inside COCO's archives; of another kind of name, the name itself."""
    found = COCO_NAME.fullmatch((file_name or "").removesuffix(".jpg"))
    return f"{found['folder']}/{file_name}" if found else file_name


def flickr_id(url: object) -> int | None:
    """The number of a photo, from its address on Flickr's servers."""
    found = FLICKR_PHOTO.search(url) if isinstance(url, str) else None
    return int(found[1]) if found else None


def images_table(images: Iterable[Image]) -> pa.Table:
    """IMAGES_SCHEMA of images; of two with one id, the first counts."""
    found: dict[str, Image] = {}
    for image in images:
        found.setdefault(image["image_id"], image)
    return pa.Table.from_pylist(list(found.values()), IMAGES_SCHEMA)


def of_images(images: pa.Table, image_ids: Sequence[str | None]) -> pa.Table:
    """A row of `images` for each id, in order; the id alone where the data set does not know it."""
    ids = pa.array(image_ids, pa.string())
    found = images.take(pc.index_in(ids, images["image_id"], skip_nulls=True))
    return found.set_column(0, IMAGES_SCHEMA.field(0), ids)


def one_each(texts: Sequence[str | None]) -> pa.ListArray:
    """Lists of one text each, which may be null."""
    return pa.ListArray.from_arrays(pa.array(np.arange(len(texts) + 1), pa.int32()), pa.array(texts, pa.string()))


def text_of(found: object) -> str | None:
    """A text without white space around it; None for anything else, and for an empty one."""
    return (found.strip() or None) if isinstance(found, str) else None


def id_of(found: object) -> str | None:
    """An id as text: data sets write them as numbers or as strings."""
    return str(found) if isinstance(found, int | str) and not isinstance(found, bool) else None


def number_of(found: object) -> int | None:
    """A whole number, also from 12.0; None for anything else."""
    return int(found) if isinstance(found, int | float) and abs(found) < 2**53 else None
