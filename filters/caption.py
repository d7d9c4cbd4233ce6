"""Filters on the caption alone: its length, its Han characters, and how often it occurs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import model_validator

from filters.base import Filter, Scope
from filters.text import mask, strings
from foundation.config import value
from foundation.lazy import polars as pl


class CaptionLength(Filter):
    """Keeps captions of `min` to `max` characters, both inclusive, after trimming white space.

    Characters are Unicode code points (an emoji of several code points counts as several). A null caption has none.
    Bounds: Chinese-CLIP paper (arXiv 2211.01335), section 2.2.
    """

    reasons: ClassVar[Mapping[str, str]] = {
        "caption_too_short": "the caption has fewer than `min` characters, or there is none",
        "caption_too_long": "the caption has more than `max` characters",
    }
    columns: ClassVar[tuple[str, ...]] = ("caption",)

    min: int = value(5, "shortest caption kept", "characters", ge=1)
    max: int = value(50, "longest caption kept", "characters", ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> CaptionLength:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) must not exceed max ({self.max})")
        return self

    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """Masks for `caption_too_short` and `caption_too_long`."""
        length = pc.fill_null(pc.utf8_length(pc.utf8_trim_whitespace(pairs["caption"].cast(pa.string()))), 0)
        short, long = pc.less(length, self.min), pc.greater(length, self.max)
        return {"caption_too_short": short.combine_chunks(), "caption_too_long": long.combine_chunks()}


class HanCharacters(Filter):
    """Keeps captions with enough Han characters: LAION's "zh" holds pinyin (zh-Latn), and other scripts.

    A null caption has no Han character. The share is of all characters that are not white space.
    """

    reasons: ClassVar[Mapping[str, str]] = {
        "no_han": "the caption has fewer than `min_count` Han characters",
        "han_share_too_low": "the share of Han characters in the caption is below `min_share`",
    }
    columns: ClassVar[tuple[str, ...]] = ("caption",)

    min_count: int = value(1, "fewest Han characters in a caption", "characters", ge=0)
    min_share: float = value(0.0, "lowest share of Han among characters other than white space", "share", ge=0, le=1)

    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """Masks for `no_han` (fewer than `min_count`) and `han_share_too_low`."""
        caption = strings(pairs, "caption").fill_null("")
        return {"no_han": mask(self._too_few(caption)), "han_share_too_low": mask(self._share_too_low(caption))}

    def _too_few(self, caption: pl.Series) -> pl.Series:
        if self.min_count == 1:  # the usual case: a search that ends at the first hit, ten times faster than a count
            return ~caption.str.contains(r"\p{Han}")
        return caption.str.count_matches(r"\p{Han}") < self.min_count

    def _share_too_low(self, caption: pl.Series) -> pl.Series:
        if self.min_share == 0:
            return pl.Series(np.zeros(len(caption), dtype=bool))
        return caption.str.count_matches(r"\p{Han}") < self.min_share * caption.str.count_matches(r"\S")


class CaptionFrequency(Filter):
    """Drops texts that occur too often in a source: they name a page or a shop, not an image.

    Every row of such a text is rejected, the first too. Rows of the same url and caption count once. A null caption is
    never too frequent. The bound of 10 is the one Wukong (arXiv 2202.06767) is said to use.
    """

    reasons: ClassVar[Mapping[str, str]] = {
        "caption_too_frequent": "the caption occurs more than `max` times in its source",
    }
    columns: ClassVar[tuple[str, ...]] = ("source", "url", "caption")
    scope: ClassVar[Scope] = "caption_group"

    max: int = value(10, "how often a caption may occur in its source", "occurrences", ge=1)

    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """A mask for `caption_too_frequent`; `pairs` must hold all rows of each caption in it."""
        caption = strings(pairs, "caption")
        text = hash_of(strings(pairs, "source"), caption)
        rows = pl.DataFrame({"text": text, "pair": hash_of(text, strings(pairs, "url"))})
        often = rows.filter(pl.len().over("text") > self.max)  # few rows: distinct urls are counted among these only
        counts = often.group_by("text").agg(pl.col("pair").n_unique())
        frequent = counts.filter(pl.col("pair") > self.max)["text"]
        return {"caption_too_frequent": mask(text.is_in(frequent.implode()) & caption.is_not_null())}


def hash_of(*columns: pl.Series) -> pl.Series:
    """uint64 hash of each row over `columns`; null is a value. Among n rows, n²/2⁶⁵ collisions are to be expected."""
    total = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        total = total * np.uint64(0x9E3779B97F4A7C15) + column.hash().to_numpy()  # odd factor: order matters; wraps
    return pl.Series(total)
