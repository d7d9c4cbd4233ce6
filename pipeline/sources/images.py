"""Images as data sets describe them: where each lies, by its url as published or in the source's own folders, and its ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

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
        path = _last_parts(given) if given else _path_in_archive(name)
        return local_url(self.source, path) if path else None

    def _published(self, name: str | None) -> str | None:
        """BASE/train2014/COCO_train2014_000000000009.jpg; None for another kind of name."""
        match = COCO_NAME.match(name or "")
        return f"{self.base_url.rstrip('/')}/{match['folder']}/{name}" if match and self.base_url else None


def _path_in_archive(name: str | None) -> str | None:
    """The path inside COCO's archives; of another kind of name, the name itself."""
    match = COCO_NAME.match(name or "")
    return f"{match['folder']}/{name}" if match else name


def _last_parts(url: str) -> str | None:
    """`train2014/NAME.jpg` or `VG_100K/1.jpg`: folder and file of an image's url, which its published archive has too."""
    try:
        path = urlsplit(url).path
    except ValueError:  # unbalanced brackets, deceptive characters
        return None
    return "/".join(part for part in unquote(path).split("/")[-2:] if part) or None


def flickr_id(url: object) -> int | None:
    """The number of a photo, from its address on Flickr's servers."""
    match = FLICKR_PHOTO.search(url) if isinstance(url, str) else None
    return int(match[1]) if match else None


def images_table(images: Iterable[Image]) -> pa.Table:
    """IMAGES_SCHEMA of images; of two with one id, the first counts."""
    by_id: dict[str, Image] = {}
    for image in images:
        by_id.setdefault(image["image_id"], image)
    return pa.Table.from_pylist(list(by_id.values()), IMAGES_SCHEMA)


def lookup_images(images: pa.Table, image_ids: Sequence[str | None]) -> pa.Table:
    """A row of `images` for each id, in order; the id alone where the data set does not know it."""
    ids = pa.array(image_ids, pa.string())
    rows = images.take(pc.index_in(ids, images["image_id"], skip_nulls=True))
    return rows.set_column(0, IMAGES_SCHEMA.field(0), ids)


def text_of(raw: object) -> str | None:
    """A text without white space around it; None for anything else, and for an empty one."""
    return (raw.strip() or None) if isinstance(raw, str) else None


def id_of(raw: object) -> str | None:
    """An id as text: data sets write them as numbers or as strings."""
    return str(raw) if isinstance(raw, int | str) and not isinstance(raw, bool) else None


def number_of(raw: object) -> int | None:
    """A whole number, also from 12.0; None for anything else."""
    return int(raw) if isinstance(raw, int | float) and abs(raw) < 2**53 else None
