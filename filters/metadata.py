"""Filters on what the metadata declares: similarity, unsafe and watermark scores, size, and the NSFW tag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import model_validator

from filters.base import Filter
from foundation.config import value

Missing = Literal["keep", "reject"]


class MetadataSimilarity(Filter):
    """Rejects pairs whose data set gives them a low image-text similarity.

    Values outside -1 to 1 (LAION has 6016), NaN and null count as missing. The figure is of the data set's own model: the
    default is LAION-5B's cut for languages other than English, and means nothing for another model.
    """

    reasons: ClassVar[Mapping[str, str]] = {
        "similarity_too_low": "the data set's own image-text similarity is below `min`",
        "similarity_missing": "the data set gives no plausible image-text similarity",
    }
    columns: ClassVar[tuple[str, ...]] = ("similarity",)

    min: float = value(0.26, "lowest similarity kept", "cosine", ge=-1, le=1)
    missing: Missing = value("keep", "what becomes of a pair without a plausible similarity")

    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """Masks for `similarity_too_low` and `similarity_missing`."""
        similarity, known = _plausible(pairs["similarity"], -1, 1)
        low = pc.and_(known, pc.less(similarity, pa.scalar(self.min, pa.float32())))
        return {"similarity_too_low": _mask(low), "similarity_missing": _missing(known, self.missing)}


class MaxScore(Filter):
    """Rejects pairs whose score of a classifier is above `max`; missing: null, NaN, outside 0 to 1.

    A subclass has one column, and two reasons: too high, and missing. Scores are compared in float32, as they are stored.
    """

    max: float
    missing: Missing = value("keep", "what becomes of a pair without a score")

    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """Masks for too high, and for missing where `missing` rejects."""
        score, known = _plausible(pairs[self.columns[0]], 0, 1)
        too_high = pc.and_(known, pc.greater(score, pa.scalar(self.max, pa.float32())))
        return dict(zip(self.reasons, (_mask(too_high), _missing(known, self.missing)), strict=True))


class Punsafe(MaxScore):
    """Rejects pairs that the data set's classifier holds for unsafe."""

    reasons: ClassVar[Mapping[str, str]] = {
        "punsafe_too_high": "the data set's unsafe score is above `max`",
        "punsafe_missing": "the data set gives no plausible unsafe score",
    }
    columns: ClassVar[tuple[str, ...]] = ("punsafe",)

    max: float = value(0.5, "highest unsafe score kept", "probability", ge=0, le=1)


class Pwatermark(MaxScore):
    """Rejects pairs that the data set's classifier holds for watermarked.

    0.8 is the bound that LAION-Aesthetics is said to have used (with 0.5 for `punsafe`); not verified.
    """

    reasons: ClassVar[Mapping[str, str]] = {
        "pwatermark_too_high": "the data set's watermark score is above `max`",
        "pwatermark_missing": "the data set gives no plausible watermark score",
    }
    columns: ClassVar[tuple[str, ...]] = ("pwatermark",)

    max: float = value(0.8, "highest watermark score kept", "probability", ge=0, le=1)


class DeclaredSize(Filter):
    """Rejects images whose declared width and height do not fit. Null, zero and negative sides count as unknown: kept.

    Wukong's authors (arXiv 2202.06767) are said to have kept images over 200 pixels a side with aspect at most 3.
    """

    reasons: ClassVar[Mapping[str, str]] = {
        "image_too_small": "the shorter declared side is below `min_side`",
        "image_too_large": "the longer declared side is above `max_side`",
        "image_aspect": "the ratio of the longer to the shorter declared side is above `max_aspect`",
    }
    columns: ClassVar[tuple[str, ...]] = ("width", "height")

    min_side: int = value(200, "shortest declared side kept", "pixels", ge=1)
    max_side: int | None = value(None, "longest declared side kept", "pixels", ge=1)
    max_aspect: float | None = value(3.0, "highest ratio of the longer to the shorter side", "ratio", ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> DeclaredSize:
        if self.max_side is not None and self.min_side > self.max_side:
            raise ValueError(f"min_side ({self.min_side}) must not exceed max_side ({self.max_side})")
        return self

    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """Masks for `image_too_small`, `image_too_large` and `image_aspect` (which needs both sides)."""
        width, height = (pc.if_else(pc.greater(side, 0), side, None) for side in (pairs["width"], pairs["height"]))
        shorter, longer = pc.min_element_wise(width, height), pc.max_element_wise(width, height)  # these skip nulls
        both_known = pc.and_(pc.is_valid(width), pc.is_valid(height))
        limit = pc.multiply(shorter.cast(pa.float64()), self.max_aspect or 1.0)
        aspect = pc.and_(pc.greater(longer.cast(pa.float64()), limit), pc.and_(both_known, self.max_aspect is not None))
        large = pc.greater(longer, self.max_side if self.max_side is not None else 2**31 - 1)
        return {
            "image_too_small": _mask(pc.less(shorter, self.min_side)),
            "image_too_large": _mask(large),
            "image_aspect": _mask(aspect),
        }


class NsfwTag(Filter):
    """Rejects pairs by LAION's NSFW column (UNLIKELY, UNSURE, NSFW), whatever its case; a null tag is kept."""

    reasons: ClassVar[Mapping[str, str]] = {
        "nsfw_tag": "the data set's NSFW tag is one of those in `reject`",
    }
    columns: ClassVar[tuple[str, ...]] = ("nsfw",)

    reject: tuple[str, ...] = value(("NSFW",), "tags that are rejected")

    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """A mask for `nsfw_tag`."""
        tag = pc.ascii_upper(pc.utf8_trim_whitespace(pairs["nsfw"].cast(pa.string())))
        tags = pa.array([tag.strip().upper() for tag in self.reject], pa.string())
        return {"nsfw_tag": _mask(pc.is_in(tag, value_set=tags))}


def _mask(answer: pa.ChunkedArray) -> pa.BooleanArray:
    """One array without nulls: unknown is not rejected."""
    return pc.fill_null(answer, False).combine_chunks()


def _plausible(column: pa.ChunkedArray, lower: float, upper: float) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """The column as float32, and where it holds a number from `lower` to `upper` (NaN compares false)."""
    number = column.cast(pa.float32())
    inside = pc.and_(pc.greater_equal(number, lower), pc.less_equal(number, upper))
    return number, pc.fill_null(inside, False)


def _missing(known: pa.ChunkedArray, missing: Missing) -> pa.BooleanArray:
    return _mask(pc.and_(pc.invert(known), missing == "reject"))
