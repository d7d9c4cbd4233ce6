"""Embeddings of images as they are stored, and their cosines: what confirms that two images with near hashes are one picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

COLUMNS = ("embedding", "mirror_embedding")
"""Of an image and of its mirror image, length 1: list<float16>, which DuckDB reads as FLOAT[]. Not of a fixed size: pyarrow
(25) writes nulls in such lists to Parquet, and cannot read them."""

CHUNK = 1 << 14  # pairs whose cosines are computed at a time: bounds memory


@dataclass(frozen=True)
class Confirmation:
    """A near copy by hash counts where the cosine of the embeddings is at least `least`, or is not known (NaN)."""

    least: float
    cosine: Callable[[np.ndarray, np.ndarray], np.ndarray]  # int64 (m,) rows, int64 (m,) rows → float32 (m,)

    def __call__(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """float32 (m,) cosines of pairs of rows, and bool (m,): whether they count."""
        cosines = self.cosine(first, second)
        return cosines, ~(cosines < self.least)


def encode(embeddings: np.ndarray) -> pa.ListArray:
    """Embeddings, float (n, dim) of any length, as a column; null where a row holds NaN or is all zero."""
    exact = embeddings.astype(np.float64)
    length = np.sqrt((exact * exact).sum(axis=1, keepdims=True))
    known = np.isfinite(length[:, 0]) & (length[:, 0] > 0)
    stored = np.divide(exact, length, where=known[:, None], out=np.zeros_like(exact)).astype(np.float16)
    offsets = pa.array(np.arange(len(stored) + 1) * stored.shape[1], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(stored.ravel()), mask=pa.array(~known))


def decode(columns: Sequence[pa.ChunkedArray]) -> np.ndarray:
    """float16 (n, views, dim) of one or two columns (`COLUMNS`), from Parquet or from DuckDB; a null is a row of NaN."""
    return np.stack([_decode(column) for column in columns], axis=1)


def _decode(column: pa.ChunkedArray) -> np.ndarray:
    array = column.combine_chunks()
    known = np.asarray(array.is_valid())
    count = max(1, int(known.sum()))
    values = array.flatten().to_numpy(zero_copy_only=False).astype(np.float16, copy=False)
    vectors = np.full((len(array), len(values) // count), np.nan, dtype=np.float16)
    vectors[known] = values.reshape(known.sum(), vectors.shape[1])
    return vectors


def cosines(left: np.ndarray, first: np.ndarray, right: np.ndarray, second: np.ndarray) -> np.ndarray:
    """float32 (m,): cosines of rows `first` of `one` with rows `second` of `other`, the better way round where a mirror
    image's embedding is known; NaN where one is unknown.

    Args:
        one, other: `decode`d, float16 (n, views, dim); may be memory-mapped.
        first, second: int64 (m,).
    """
    cosines_of_pairs = np.empty(len(first), dtype=np.float32)
    for start in range(0, len(first), CHUNK):
        part = slice(start, start + CHUNK)
        cosines_of_pairs[part] = _cosines(left[first[part]].astype(np.float32), right[second[part]].astype(np.float32))
    return cosines_of_pairs


def _cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    ways = [(0, 0), (0, 1), (1, 0)]
    views = [
        (left_view, right_view)
        for left_view, right_view in ways
        if left_view < left.shape[1] and right_view < right.shape[1]
    ]
    return np.max(
        [np.einsum("nd,nd->n", left[:, left_view], right[:, right_view]) for left_view, right_view in views], axis=0
    )
