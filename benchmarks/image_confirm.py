"""Copies of images by hash, confirmed by the cosine of their embeddings: `python -m benchmarks.image_duplicates confirm`.

Of each change it prints the share of copies found, and of each collection how many other pictures are taken for copies, at
every pair of a distance and a least cosine. "straight" is without the mirrored images' embeddings
(`score.mirror_embeddings`); test images always have both.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from benchmarks.image_copies import CHANGES, DEFAULT_COLOURS, Hashed, drawings, middle, photos, table_row
from pipeline.stages.eval_images.stage import CROPS
from pipeline.stages.score import Score, load_scorer
from pipeline.stages.score.embeddings import cosines, decode, encode

DISTANCES = (16, 24, 32)
COSINES = (-1.0, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97)  # -1: hashes alone


class Embedded(Hashed):
    """Hashed images with the embeddings of each and of its mirror image."""

    def __init__(self, images: Iterable[Image.Image], model: Score) -> None:
        super().__init__(images)
        views = load_scorer(model).embed_views(self.jpegs, mirror=True)
        self.views = decode([pa.chunked_array([encode(view)]) for view in views])

    def near(self, other: Hashed, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Differing bits; 999 where the colours differ too much."""
        bits, colours = self.compare(other, rows, others)
        return np.where(colours <= DEFAULT_COLOURS, bits, 999)

    def cosine(self, other: Embedded, rows: np.ndarray, others: np.ndarray, views: int = 2) -> np.ndarray:
        """Of pairs of images; with one view the mirrored images' embeddings are not used."""
        return cosines(self.views[:, :views], rows, other.views[:, :views], others)


def confirm(folders: list[Path], text_model: str, image_model: str) -> None:
    """Prints a table for each collection."""
    model = Score(text_model=text_model, image_model=image_model, max_tokens=80)
    print(f"embeddings of {load_scorer(model).identity['image_model']}", flush=True)
    for name, images in {"drawings": drawings(600, 480), **{path.name: photos(path) for path in folders}}.items():
        embedded = Embedded(images, model)
        crops = [Hashed([middle(image, crop) for image in images]) for crop in CROPS]
        others = Embedded(drawings(3000, 300), model) if name == "drawings" else embedded
        print(f"\n{name}: {len(images):,} images and their copies, {len(others.jpegs):,} images and all pairs of them")
        table_row("least cosine", ["hash", *COSINES[1:]])
        first, second = np.triu_indices(len(others.hashes), 1)
        _false("other pairs", others, first, second, others.near(others, first, second))
        first, second = np.nonzero(~np.eye(len(images), dtype=bool))
        _false("other test images", embedded, first, second, _nearest_crop(embedded, crops, first, second))
        _copies(images, embedded, crops, model)


def _nearest_crop(embedded: Embedded, crops: Sequence[Hashed], rows: np.ndarray, tests: np.ndarray) -> np.ndarray:
    return np.min([embedded.near(crop, rows, tests) for crop in crops], axis=0)


def _false(name: str, images: Embedded, first: np.ndarray, second: np.ndarray, bits: np.ndarray) -> None:
    close = bits <= max(DISTANCES)
    cosine = images.cosine(images, first[close], second[close])
    for distance in DISTANCES:
        near = bits[close] <= distance
        table_row(f"{name}, {distance}", [int((near & (cosine >= least)).sum()) for least in COSINES])


def _copies(images: list[Image.Image], embedded: Embedded, crops: Sequence[Hashed], model: Score) -> None:
    positions, known = np.arange(len(images)), ~embedded.plain
    for change, apply in CHANGES.items():
        rng = random.Random(5)
        copies = Embedded([apply(image, rng) for image in images], model)
        bits = {
            "": copies.near(embedded, positions, positions),
            " test": _nearest_crop(copies, crops, positions, positions),
        }
        cosine = {views: copies.cosine(embedded, positions, positions, views) for views in (1, 2)}
        mirrored = change.startswith(("mirrored", "all"))
        for distance in DISTANCES:
            for kind, views in (("", 2), *([(" straight", 1)] if mirrored else []), (" test", 2)):
                near = bits[kind.replace(" straight", "")] <= distance
                shares = [f"{(near & (cosine[views] >= least))[known].mean():.3f}" for least in COSINES]
                table_row(f"{change}{kind}, {distance}", shares)
