"""Test images: the fingerprints of one evaluation set, taken once, of images stored just as the download stage stores them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from filters.images.config import TestImages
from filters.images.fingerprint import fingerprint
from filters.images.test_sets import TestImagesError, find_images, read_images
from pipeline.download.config import Download
from pipeline.download.failure import Failure
from pipeline.download.resize import Box, resize
from pipeline.ledger import write_parquet
from pipeline.runfolder import Item, Run, RunError

CROPS = (0.0, 0.05, 0.10)
"""Shares of width and height that are cut off an image, around its middle, before its hash is taken: a copy that was
cropped is nearer to a cropped test image (`python -m benchmarks.image_duplicates curve`)."""

SCHEMA = pa.schema(
    [
        pa.field("image", pa.string(), False),  # its id in the set
        pa.field("crop", pa.float32(), False),
        pa.field("image_hash", pa.string()),
        pa.field("mirror_hash", pa.string()),
        pa.field("pixels_sha256", pa.string()),
        pa.field("error", pa.string()),  # why there is no hash
    ]
)


def applies(run: Run) -> bool:
    """Whether the recipe names test sets by their images."""
    return bool(run.recipe.images.test_sets)


def expected(run: Run) -> list[str]:
    """One shard per test set, in the order of the recipe."""
    return [f"{number:06d}" for number in range(len(run.recipe.images.test_sets))]


def check(run: Run) -> None:
    """Looks for every set's files, so that a mistake is told before hours of work; raises RunError."""
    for name, config in run.recipe.images.test_sets.items():
        try:
            find_images(config)
        except TestImagesError as error:
            raise RunError(f"images.test_sets.{name}: {error}") from error


def work(run: Run, item: Item) -> None:
    """Commits the fingerprints of one set. An image that does not decode is counted, and stands there without one."""
    name, config = list(run.recipe.images.test_sets.items())[int(item.name)]
    table = pa.Table.from_pylist(list(_rows(config, run.recipe.download)), schema=SCHEMA)
    images, lost = len(pc.unique(table["image"])), len(table) - table["error"].null_count
    with run.attempt("test_images", item.name) as attempt:
        path = attempt.folder / "test_images.parquet"
        write_parquet(table, path)
        counts = {"set": name, "in": images, "undecodable": lost, "out": images - lost}
        attempt.commit({path: run.path("test_images", f"{item.name}.parquet")}, counts)


def _rows(config: TestImages, download: Download) -> Iterator[dict[str, Any]]:
    free = download.model_copy(update={"min_side": 0})
    for image, data in read_images(config):
        try:
            for crop in CROPS:
                yield {"image": image, "crop": crop, **_fingerprint(data, crop, free)}
        except Failure as failure:
            yield {"image": image, "crop": 0.0, "error": f"{failure.reason}: {failure.detail}"}


def _fingerprint(data: bytes, crop: float, download: Download) -> dict[str, str]:
    """As the score stage takes it of a downloaded pair."""
    stored = resize(data, download)
    if crop:
        width, height = stored.original_width, stored.original_height
        left, top = round(width * crop / 2), round(height * crop / 2)
        stored = resize(data, download, Box(left, top, max(1, width - 2 * left), max(1, height - 2 * top)))
    with Image.open(io.BytesIO(stored.jpeg)) as image:
        found = fingerprint(np.asarray(image.convert("RGB")))
    return {
        "image_hash": found.image_hash, "mirror_hash": found.mirror_hash, "pixels_sha256": found.pixels_sha256
    }  # fmt: skip
