"""Captions as runs of code points, so that characters of a whole column are looked at with numpy at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SLICE = 16384  # rows at a time, so that the working arrays stay in the processor's cache


@dataclass(frozen=True)
class Points:
    """The characters of n captions, one after the other."""

    points: np.ndarray  # uint32 (characters,)
    lengths: np.ndarray  # int64 (n,)

    @property
    def rows(self) -> np.ndarray:
        """int64 (characters,): which caption each character belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def count(self, marked: np.ndarray) -> np.ndarray:
        """int64 (n,): how many characters of each caption a mask of (characters,) booleans marks."""
        ends = np.concatenate([[0], np.cumsum(marked, dtype=np.int64)])[np.cumsum(self.lengths)]
        return np.diff(ends, prepend=0)


def slices(captions: pa.ChunkedArray) -> Iterator[Points]:
    """The captions in order, SLICE at a time, without white space at either end; null is the empty string."""
    texts = pc.utf8_trim_whitespace(pc.fill_null(captions.cast(pa.large_string()), ""))
    for chunk in texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]:
        for start in range(0, len(chunk), SLICE):
            yield _points(chunk.slice(start, SLICE))


def _points(texts: pa.LargeStringArray) -> Points:
    lengths = pc.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    bounds = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
    raw = memoryview(texts.buffers()[2] or b"")[bounds[0] : bounds[-1]]
    return Points(np.frombuffer(str(raw, "utf-8").encode("utf-32-le"), np.uint32), lengths)
