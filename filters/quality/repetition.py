"""Captions that repeat themselves: 哈哈哈哈哈哈, ！！！！！！, 好看好看好看好看."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa

from filters.base import Filter
from filters.quality.points import Points, slices
from foundation.config import value


class Repetition(Filter):
    """Rejects a character, or a phrase, that stands too often in a row, and captions made of few pairs of characters.

    Every character counts, marks and spaces too. Language models' data is cleaned with the share of repeated n-grams (Gopher,
    arXiv 2112.11446, table A1); here n is 2, which suits captions of a few words. A null caption repeats nothing.
    """

    reasons: ClassVar[Mapping[str, str]] = {
        "repeated_character": "one character stands more than `max_run` times in a row",
        "repeated_phrase": "a phrase stands more than `max_phrases` times in a row",
        "repeated_pairs": "too many pairs of neighbouring characters occur more than once in the caption",
    }
    columns: ClassVar[tuple[str, ...]] = ("caption",)

    max_run: int = value(4, "how often one character may stand in a row", "characters", ge=1)
    max_phrases: int = value(2, "how often a phrase may stand in a row", "times", ge=1)
    max_phrase_length: int = value(
        8, "longest phrase that is looked for; the shortest has 2", "characters", ge=2, le=64
    )
    max_pair_share: float = value(
        0.5, "highest share of pairs of neighbouring characters that stood in the caption before", "share", ge=0, le=1
    )

    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """Masks for `repeated_character`, `repeated_phrase` and `repeated_pairs`."""
        masks: dict[str, list[np.ndarray]] = {reason: [np.zeros(0, bool)] for reason in self.reasons}
        for captions in slices(pairs["caption"]):
            rows = captions.rows
            masks["repeated_character"].append(_longest(captions, rows, 1) > self.max_run)
            masks["repeated_phrase"].append(self._phrases(captions, rows))
            masks["repeated_pairs"].append(_pair_share(captions, rows) > self.max_pair_share)
        return {reason: pa.array(np.concatenate(parts)) for reason, parts in masks.items()}

    def _phrases(self, captions: Points, rows: np.ndarray) -> np.ndarray:
        too_many = np.zeros(len(captions.lengths), bool)
        for period in range(2, self.max_phrase_length + 1):
            too_many |= _longest(captions, rows, period) >= (self.max_phrases + 1) * period
        return too_many


def _longest(captions: Points, rows: np.ndarray, period: int) -> np.ndarray:
    """int64 (n,): length of the longest stretch in which every character equals the one `period` before it.

    Stretches of one character alone count for period 1 only. 0 where there is none.
    """
    points = captions.points
    longest = np.zeros(len(captions.lengths), np.int64)
    if len(points) <= period:
        return longest
    same = (points[period:] == points[:-period]) & (rows[period:] == rows[:-period])
    edges = np.diff(same, prepend=False, append=False).nonzero()[0]
    begins, ends = edges[::2], edges[1::2]  # begins counts from the first of the period before the stretch
    if period > 1 and len(begins):
        changes = np.concatenate([[0], np.cumsum(points[1:] != points[:-1])])  # up to each position
        varied = changes[ends + period - 1] > changes[begins]
        begins, ends = begins[varied], ends[varied]
    np.maximum.at(longest, rows[begins], ends - begins + period)
    return longest


def _pair_share(captions: Points, rows: np.ndarray) -> np.ndarray:
    """float64 (n,): share of neighbouring characters, as pairs, that occur earlier in the same caption. 0 below two pairs."""
    inside = rows[1:] == rows[:-1]
    # 64 bits: row within the slice 20, first character 21, second 21. Equal pairs of one row become neighbours by sorting.
    first, second = captions.points[:-1].astype(np.uint64), captions.points[1:].astype(np.uint64)
    pairs = np.sort((rows[1:].astype(np.uint64) << np.uint64(42) | first << np.uint64(21) | second)[inside])
    again = pairs[1:][pairs[1:] == pairs[:-1]] >> np.uint64(42)
    repeated = np.bincount(again.astype(np.int64), minlength=len(captions.lengths))
    return repeated / np.maximum(captions.lengths - 1, 1)
