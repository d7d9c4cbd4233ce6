"""The limits of a source on scores, applied in this one place."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.base import as_numpy
from pipeline.recipe import Recipe

SCORE_TOO_LOW = "score_too_low"
NSFW_TOO_HIGH = "nsfw_too_high"


def score_reasons(recipe: Recipe, sources: pa.ChunkedArray, scores: pa.Table) -> dict[str, np.ndarray]:
    """Which pairs their source's limits reject: reason → bool (n,).

    Limits are compared as float32, as scores are stored: a score written as 0.26 is not below 0.26.

    Args:
        sources: name of the source of each pair.
        scores: columns score (float32) and, where the run has them, nsfw_score (float32); a null nsfw_score passes.
    """
    nsfw = scores["nsfw_score"] if "nsfw_score" in scores.column_names else pa.nulls(scores.num_rows, pa.float32())
    return {
        SCORE_TOO_LOW: as_numpy(pc.less(scores["score"], limit_of_pairs(recipe, sources, "min_score"))),
        NSFW_TOO_HIGH: as_numpy(pc.greater(nsfw, limit_of_pairs(recipe, sources, "max_nsfw"))),
    }


def limit_of_pairs(recipe: Recipe, sources: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """float32 (n,): the limit `name` (min_score or max_nsfw) of each pair's source; null where it has none."""
    limits = pa.array([getattr(source, name) for source in recipe.sources.values()], pa.float64())
    return limits.cast(pa.float32()).take(pc.index_in(sources, pa.array(list(recipe.sources))))
