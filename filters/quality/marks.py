"""Captions that are mostly marks or digits: prices, dates, codes, rows of symbols."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar

import numpy as np
import pyarrow as pa

from filters.base import Filter
from filters.quality.points import Points, slices
from foundation.config import value

MARK, DIGIT, SPACE = 1, 2, 4


class MarksAndDigits(Filter):
    """Rejects captions with too large a share of punctuation and symbols, or of digits, among characters but white space.

    Marks are Unicode's categories P and S (emoji among them), digits Nd and No: full-width and ringed ones too, but not 一二三,
    which are words. A null caption has neither.
    """

    reasons: ClassVar[Mapping[str, str]] = {
        "mark_share_too_high": "the share of punctuation and symbols in the caption is above `max_marks`",
        "digit_share_too_high": "the share of digits in the caption is above `max_digits`",
    }
    columns: ClassVar[tuple[str, ...]] = ("caption",)

    max_marks: float = value(0.3, "highest share of punctuation and symbols", "share", ge=0, le=1)
    max_digits: float = value(0.3, "highest share of digits", "share", ge=0, le=1)

    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """Masks for `mark_share_too_high` and `digit_share_too_high`."""
        marks, digits = [np.zeros(0, bool)], [np.zeros(0, bool)]
        for captions in slices(pairs["caption"]):
            kinds = _kinds()[captions.points]
            visible = captions.lengths - captions.count(kinds == SPACE)
            marks.append(_too_many(captions, kinds == MARK, visible, self.max_marks))
            digits.append(_too_many(captions, kinds == DIGIT, visible, self.max_digits))
        return {"mark_share_too_high": pa.array(np.concatenate(marks)),
                "digit_share_too_high": pa.array(np.concatenate(digits))}  # fmt: skip


def _too_many(captions: Points, marked: np.ndarray, visible: np.ndarray, share: float) -> np.ndarray:
    return captions.count(marked) > share * visible


@lru_cache(maxsize=1)
def _kinds() -> np.ndarray:
    """uint8 array of 0x110000: MARK, DIGIT, SPACE, or 0 for each code point."""
    kinds = np.zeros(sys.maxunicode + 1, np.uint8)
    for point in range(len(kinds)):
        category = unicodedata.category(chr(point))
        if category[0] in "PS":
            kinds[point] = MARK
        elif category in ("Nd", "No"):
            kinds[point] = DIGIT
        elif chr(point).isspace():
            kinds[point] = SPACE
    return kinds
