"""The rule of every source that is translated: a row whose text has no Chinese is no pair.

It stands beside the other rules because it sees nothing but the table; that it applies, the source says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from filters.base import Filter


class NotTranslated(Filter):
    """Rejects rows that have an English text and no Chinese one."""

    reasons: ClassVar[Mapping[str, str]] = {
        "not_translated": "the row has English text, but no Chinese translation of it",
    }
    columns: ClassVar[tuple[str, ...]] = ("caption", "english")

    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """True where `english` is there and `caption` is null."""
        return {"not_translated": pc.and_(pc.is_null(pairs["caption"]), pc.is_valid(pairs["english"]))}
