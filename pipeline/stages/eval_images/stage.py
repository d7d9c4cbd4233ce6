"""Test images: fingerprints, and where asked for embeddings, of one evaluation set, taken once, of images stored just as
the download stage stores them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from foundation.failure import Failure
from foundation.formats.lines import FormatError
from pipeline.recipe import Recipe
from pipeline.recipe.download import Download
from pipeline.run.attempt import Attempt
from pipeline.run.folder import Item, Run
from pipeline.run.manifest import RunError
from pipeline.run.parquet import write_parquet
from pipeline.stages.base import Stage, View
from pipeline.stages.download.stage import download_inputs
from pipeline.stages.eval_images.sets import EvalImagesError, find_images, read_images
from pipeline.stages.score import embeddings
from pipeline.stages.score.fingerprint import fingerprint
from pipeline.stages.score.stage import score_inputs

if TYPE_CHECKING:
    from pipeline.stages.score.scorer import Scorer

CROPS = (0.0, 0.05, 0.10)
"""Shares of width and height that are cut off an image, around its middle, before its hash is taken: a copy that was
cropped is nearer to a cropped test image (`python -m benchmarks.image_duplicates curve`)."""

IMAGES_AT_ONCE = 512  # files in memory; the scorer takes its own batches from them

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
"""Where the recipe confirms copies of test images there are also `pipeline.stages.score.embeddings.COLUMNS`, of uncropped images
(null in rows of cropped ones), and image_revision, that of the tower."""


class EvalImages(Stage):
    """What the images of each evaluation set are recognised by: one shard a set, in the order of the recipe.

    An image that does not decode is counted, and stands there without a hash.
    """

    name = "eval_images"
    command = "select"
    label = "evaluation images"
    summary = "Fingerprint the images of evaluation sets."
    cheap = True
    covers_earlier = False
    endings = (".parquet",)
    views = (
        View(
            "eval_images",
            SCHEMA,
            "fingerprints of the evaluation sets' images, uncropped and cropped; shard: position of the set in the recipe",
        ),
    )

    def inputs(self, recipe: Recipe) -> dict[str, Any]:
        """The sets, how images are stored, and the model where embeddings confirm near-duplicates."""
        scorer = score_inputs(recipe) if recipe.images.test_min_cosine is not None else {}
        return {"test_sets": recipe.canonical()["images"]["test_sets"], **download_inputs(recipe), **scorer}

    def enabled(self, recipe: Recipe) -> bool:
        """Whether the recipe names evaluation sets by their images."""
        return bool(recipe.images.test_sets)

    def prepare(self, run: Run) -> None:
        """Look for the files of every set that has no fingerprints yet."""
        done = run.done(self.name)
        for shard, (name, config) in zip(self.shards(run), run.recipe.images.test_sets.items(), strict=True):
            try:
                if shard not in done:
                    find_images(config)
            except (FormatError, EvalImagesError) as error:
                raise RunError(f"images.test_sets.{name}: {error}") from error

    def shards(self, run: Run) -> list[str]:
        """One per set."""
        return [f"{number:06d}" for number in range(len(run.recipe.images.test_sets))]

    def make(self, attempt: Attempt, item: Item) -> None:
        """Commit the fingerprints of one set."""
        _make(attempt, item.name)


def _make(attempt: Attempt, shard: str) -> None:
    run = attempt.run
    name, config = list(run.recipe.images.test_sets.items())[int(shard)]
    scorer = _scorer(run)
    tables = [_table(images, run.recipe.download, scorer) for images in _some_at_a_time(read_images(config))]
    table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    images, lost = len(pc.unique(table["image"])), len(table) - table["error"].null_count
    write_parquet(table, attempt.output(".parquet"))
    attempt.commit({"set": name, "in": images, "undecodable": lost, "out": images - lost})


def _scorer(run: Run) -> Scorer | None:
    """The run's own, where copies of test images are confirmed."""
    if run.recipe.images.test_min_cosine is None:
        return None
    from pipeline.stages.score import load_scorer  # brings torch

    return load_scorer(run.recipe.score)


def _some_at_a_time(images: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    left = iter(images)
    while batch := list(islice(left, IMAGES_AT_ONCE)):
        yield batch


def _table(images: list[tuple[str, bytes]], download: Download, scorer: Scorer | None) -> pa.Table:
    """Rows of some images, with embeddings where there is a scorer."""
    free = download.model_copy(update={"min_side": 0})
    rows: list[dict[str, Any]] = []
    uncropped: dict[int, bytes] = {}  # row → the uncropped image as it would be stored
    for image, data in images:
        try:
            stored = [_stored(data, crop, free) for crop in CROPS]
        except Failure as failure:
            rows.append({"image": image, "crop": 0.0, "error": f"{failure.reason}: {failure.detail}"})
            continue
        uncropped[len(rows)] = stored[0]
        rows += [{"image": image, "crop": crop, **_hashes(jpeg)} for crop, jpeg in zip(CROPS, stored, strict=True)]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    return table if scorer is None else _with_embeddings(table, uncropped, scorer)


def _with_embeddings(table: pa.Table, uncropped: dict[int, bytes], scorer: Scorer) -> pa.Table:
    views = scorer.embed_views(list(uncropped.values()), mirror=True)
    for name, view in zip(embeddings.COLUMNS, views, strict=True):
        column = np.full((table.num_rows, view.shape[1]), np.nan, dtype=np.float32)
        column[list(uncropped)] = view
        table = table.append_column(name, embeddings.encode(column))
    revision = pa.scalar(scorer.identity["image_revision"], pa.string())
    return table.append_column("image_revision", pa.repeat(revision, table.num_rows))


def _stored(data: bytes, crop: float, download: Download) -> bytes:
    """The JPEG that the download stage would store of an image, or of its middle."""
    from pipeline.stages.download.resize import (  # loads OpenCV
        Box,
        resize,
    )

    stored = resize(data, download)
    if crop:
        width, height = stored.original_width, stored.original_height
        left, top = round(width * crop / 2), round(height * crop / 2)
        stored = resize(data, download, Box(left, top, max(1, width - 2 * left), max(1, height - 2 * top)))
    return stored.jpeg


def _hashes(jpeg: bytes) -> dict[str, str]:
    """As the score stage takes them of a downloaded pair."""
    with Image.open(io.BytesIO(jpeg)) as image:
        hashes = fingerprint(np.asarray(image.convert("RGB")))
    return {
        "image_hash": hashes.image_hash, "mirror_hash": hashes.mirror_hash, "pixels_sha256": hashes.pixels_sha256
    }  # fmt: skip
