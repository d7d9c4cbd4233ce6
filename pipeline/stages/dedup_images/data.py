"""What the stage holds in memory: all scored pairs, and the images of evaluation sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.stages.dedup_images.matching import Fingerprints
from pipeline.stages.score import embeddings
from pipeline.stages.score.fingerprint import COLUMNS


@dataclass(frozen=True)
class Scored:
    """All scored pairs of a run, in key order."""

    keys: np.ndarray  # S32 (n,)
    source: np.ndarray  # int16 (n,): position in the recipe
    score: np.ndarray  # float32 (n,)
    passes: np.ndarray  # bool (n,): within its source's limits on scores
    area: np.ndarray  # int64 (n,): pixels of the original image
    url: np.ndarray  # uint64 (n,): hash of source and url
    test: np.ndarray  # int64 (n,): row of the nearest test image, or -1
    test_bits: np.ndarray  # int64 (n,)
    test_cosine: np.ndarray  # float32 (n,): NaN where embeddings were not asked
    images: Fingerprints | None  # where images are compared
    shards: dict[str, int]  # plan shard → its scored pairs


@dataclass(frozen=True)
class EvalImageTable:
    """All test sets of a run: fingerprints, and what each row is called."""

    images: Fingerprints
    sets: np.ndarray  # int64 (m,): position in the recipe
    names: pa.ChunkedArray  # (m,)
    image_row: np.ndarray  # int64 (m,): row of its image's embedding
    embeddings: np.ndarray | None  # float16 (images, 2, dim), where they confirm copies
    revision: str | None  # of the image tower that they are from

    @classmethod
    def of(cls, table: pa.Table, sets: np.ndarray, confirmed: bool) -> EvalImageTable:
        """From rows of eval_images/*.parquet without an error, and the position of each row's set.

        Args:
            confirmed: whether the recipe has them confirmed by embeddings, so that they are there.
        """
        uncropped = pc.equal(table["crop"], 0.0)  # the first row of each image
        vectors = revision = None
        if confirmed and table.num_rows:
            own = table.filter(uncropped)
            vectors = embeddings.decode([own[name] for name in embeddings.COLUMNS])
            revision = own["image_revision"][0].as_py()
        images = Fingerprints.decode(*(table[name].to_pylist() for name in COLUMNS))
        return cls(images, sets, table["image"], np.cumsum(uncropped) - 1, vectors, revision)
