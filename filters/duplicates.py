"""Duplicate pairs: the same url and caption, or the same caption on what is the same image but for its url's spelling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa

from filters.base import Filter, Scope
from filters.caption import hash_of
from filters.text import mask, strings
from filters.url import canonical_url
from foundation.config import value
from foundation.lazy import polars as pl


class Duplicates(Filter):
    """Keeps one row of each pair. Rows are equal across sources; a null url or caption equals nothing.

    The first row of the table wins, unless the table has an integer column `priority`: then the lowest wins, the first of
    those in table order. Equal url and caption are one pair, always; such a row gets both reasons. Rows are compared by
    64-bit hashes: a false duplicate is expected once in 2⁶⁵/n² tables of n rows.
    """

    reasons: ClassVar[Mapping[str, str]] = {
        "duplicate_pair": "another row with the same url and caption was kept",
        "duplicate_image_url": "another row with the same caption was kept, whose url is the same but for its spelling",
    }
    columns: ClassVar[tuple[str, ...]] = ("url", "caption")
    optional_columns: ClassVar[tuple[str, ...]] = ("priority",)
    scope: ClassVar[Scope] = "caption_group"

    same_image_url: bool = value(
        True, "reject a second row of a caption whose url differs only in scheme, host case, port, www, query, fragment"
    )

    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """Masks for `duplicate_pair` and `duplicate_image_url`; `pairs` must hold all rows of each caption in it."""
        url, caption = strings(pairs, "url"), strings(pairs, "caption")
        order = _order(pairs)
        comparable = url.is_not_null() & caption.is_not_null()
        nothing = pl.Series(np.zeros(len(url), dtype=bool))
        text = hash_of(caption)
        same_pair = _repeats(hash_of(text, url), order)
        same_url = _repeats(hash_of(text, canonical_url(url)), order) if self.same_image_url else nothing
        return {"duplicate_pair": mask(same_pair & comparable), "duplicate_image_url": mask(same_url & comparable)}


def _order(pairs: pa.Table) -> np.ndarray | None:
    """Positions of the rows from best to worst, or None where table order is the order."""
    if "priority" not in pairs.column_names:
        return None
    priority = pairs["priority"].to_numpy()
    return np.argsort(priority, kind="stable") if (priority[1:] < priority[:-1]).any() else None


def _repeats(keys: pl.Series, order: np.ndarray | None) -> pl.Series:
    """True for each row whose key a better row has."""
    if order is None:
        return ~keys.is_first_distinct()
    repeated = np.empty(len(keys), dtype=bool)
    repeated[order] = (~keys.gather(order).is_first_distinct()).to_numpy()
    return pl.Series(repeated)
