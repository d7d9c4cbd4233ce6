"""What is wrong with a translation, seen from the text alone: missing, left in English, in loops, too short or too long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
from pydantic import model_validator

from filters.base import Filter
from filters.text import mask, strings
from foundation.config import value
from foundation.lazy import polars as pl

SLICE = 16_384  # rows compared at a time: joined captions are long, and a comparison takes some 30 bytes a character
WORD = r"[\p{L}\p{N}]+(?:['’-][\p{L}\p{N}]+)*"


class TranslationCheck(Filter):
    """Rejects captions that are no usable translation of their `english`; rows without English text are left alone.

    Characters are letters and digits; white space and punctuation never count. A null or blank caption is
    `translation_empty` and nothing else. The bounds were measured on 3,979 English names of emoji and their Chinese names
    (npm emojibase-data 17, CLDR's names, skin tones included), 1.6 characters a word at the median: 9 are rejected, six for
    their length (frowning face with open mouth → 啊) and three that are Latin in Chinese too (OK, DVD, DNA). Of 1,923 names
    with their tags, made in each language by itself, 19 differ too much in length and 3 repeat a piece four times.
    """

    reasons: ClassVar[Mapping[str, str]] = {
        "translation_empty": "there is English text, but the translation is blank",
        "translation_untranslated": "the translation repeats the English text, or is mostly Latin letters",
        "translation_repeats": "the translation repeats itself, as a translation model in a loop does",
        "translation_length": "the translation has too few or too many characters for its English words",
        "translation_not_chinese": "the share of Han characters in the translation is below `min_han`",
    }
    columns: ClassVar[tuple[str, ...]] = ("caption",)
    optional_columns: ClassVar[tuple[str, ...]] = ("english",)

    max_latin: float = value(0.7, "highest share of Latin letters among characters", "share", ge=0, le=1)
    min_han: float = value(0.3, "lowest share of Han among characters", "share", ge=0, le=1)
    max_repeats: int = value(3, "how often the same 1 to 8 letters may follow one another", "times", ge=1)
    max_gram: int = value(8, "longest piece whose repetition is looked for", "letters", ge=1, le=64)
    min_distinct: float = value(
        0.3, "lowest share of distinct pairs of neighbouring letters, from 20 letters on", "share", ge=0, le=1
    )
    min_per_word: float = value(0.4, "fewest Chinese characters for an English word", "characters/word", ge=0)
    max_per_word: float = value(6.0, "most Chinese characters for an English word", "characters/word", gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_per_word > self.max_per_word:
            raise ValueError(f"min_per_word ({self.min_per_word}) must not exceed max_per_word ({self.max_per_word})")
        return self

    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """A mask for each reason; all False where the table has no column `english`."""
        if "english" not in pairs.column_names:
            return {reason: pa.array(np.zeros(pairs.num_rows, dtype=bool)) for reason in self.reasons}
        english, caption = strings(pairs, "english"), strings(pairs, "caption").fill_null("")
        characters = caption.str.count_matches(r"[\p{L}\p{N}]")
        blank = ~caption.str.contains(r"\S")
        text = english.is_not_null() & ~blank
        words = english.str.count_matches(WORD)
        same = caption.str.strip_chars().str.to_lowercase() == english.str.strip_chars().str.to_lowercase()
        rejected_by_reason = {
            "translation_empty": english.is_not_null() & blank,
            "translation_untranslated": text & (same | _over(caption, r"\p{Latin}", self.max_latin, characters)),
            "translation_repeats": text & self._repeats(caption),
            "translation_length": text & (words > 0) & self._length_is_off(characters, words),
            "translation_not_chinese": text
            & (caption.str.count_matches(r"\p{Han}") < self.min_han * characters.clip(1)),
        }
        return {reason: mask(rejected) for reason, rejected in rejected_by_reason.items()}

    def _length_is_off(self, characters: pl.Series, words: pl.Series) -> pl.Series:
        return (characters < self.min_per_word * words) | (characters > self.max_per_word * words)

    def _repeats(self, caption: pl.Series) -> pl.Series:
        letters = caption.str.replace_all(r"[^\p{L}]", "")  # a loop often has commas between its pieces
        parts = [self._repeats_slice(letters.slice(i, SLICE)) for i in range(0, len(letters), SLICE)]
        return pl.Series(np.concatenate(parts) if parts else np.zeros(0, dtype=bool))

    def _repeats_slice(self, letters: pl.Series) -> np.ndarray:
        """Bool array, one per row: a piece that repeats too often, or too few distinct pairs of letters."""
        lengths = letters.str.len_chars().to_numpy()
        rows = np.repeat(np.arange(len(letters)), lengths)
        points = np.frombuffer("".join(letters).encode("utf-32-le"), dtype=np.uint32)
        repeats = np.zeros(len(letters), dtype=bool)
        for period in range(1, self.max_gram + 1):
            repeats[rows[_runs(points, rows, period, period * self.max_repeats)]] = True
        return repeats | ((lengths >= 20) & (_distinct_pairs(points, rows, len(letters)) < self.min_distinct))


def _over(text: pl.Series, pattern: str, share: float, of: pl.Series) -> pl.Series:
    return text.str.count_matches(pattern) > share * of


def _runs(points: np.ndarray, rows: np.ndarray, period: int, length: int) -> np.ndarray:
    """Where runs begin of `length` code points that each equal the one `period` later in the same row."""
    equal = (points[:-period] == points[period:]) & (rows[:-period] == rows[period:])
    total = np.concatenate([[0], np.cumsum(equal)])
    return np.flatnonzero(total[length:] - total[:-length] == length)


def _distinct_pairs(points: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """float64 (count,): distinct pairs of neighbouring code points over all of them, in each row; 1 where there is none."""
    within = rows[:-1] == rows[1:]
    pairs = (points[:-1][within].astype(np.uint64) << np.uint64(21)) | points[1:][within]
    owner = rows[:-1][within]
    distinct = pl.DataFrame({"row": owner, "pair": pairs}).unique()["row"].to_numpy()
    all_pairs = np.bincount(owner, minlength=count)
    return np.where(all_pairs > 0, np.bincount(distinct, minlength=count) / np.maximum(all_pairs, 1), 1.0)
