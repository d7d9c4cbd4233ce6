"""LAION-5B's multilingual part: Parquet with URL, TEXT, LANGUAGE and the data set's own scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foundation.config import value
from pipeline.sources.tabular import TabularSource

COLUMNS = {
    "url": "URL",
    "caption": "TEXT",
    "language": "LANGUAGE",
    "similarity": "similarity",
    "width": "WIDTH",
    "height": "HEIGHT",
    "punsafe": "punsafe",
    "pwatermark": "pwatermark",
    "nsfw": "NSFW",
    "license": "LICENSE",
}


class LaionSource(TabularSource):
    """LAION-5B's multilingual part: laion2B-multi raw, joined, or Re-LAION (Parquet)."""

    kind: Literal["laion"]
    languages: tuple[str, ...] = value(("zh",), "LANGUAGE values that are in scope; other rows are only counted")
    swapped_size: bool | None = value(
        None, "WIDTH holds the height and the other way round; null: yes for raw files, which lack `punsafe`"
    )

    def file_format(self, file: str) -> str:  # noqa: ARG002
        """Parquet, whatever the file is called."""
        return "parquet"

    def column_names(self) -> Mapping[str, str]:
        """As LAION published them."""
        return COLUMNS

    def to_pairs(self, raw: pa.Table, name: str, file: str, positions: np.ndarray) -> pa.Table:
        """As `Source.to_pairs`, with width and height the right way round."""
        pairs = super().to_pairs(raw, name, file, positions)
        if not self._is_swapped(raw):
            return pairs
        columns = dict(zip(pairs.column_names, pairs.columns, strict=True))
        columns["width"], columns["height"] = columns["height"], columns["width"]
        return pa.table(columns, schema=pairs.schema)

    def _is_swapped(self, raw: pa.Table) -> bool:
        """laion2B-multi's raw files hold the height in WIDTH; the joined ones (with punsafe) do not."""
        if self.swapped_size is not None:
            return self.swapped_size
        return "punsafe" not in {column.lower() for column in raw.column_names}

    def in_scope(self, pairs: pa.Table) -> np.ndarray | None:
        """Rows whose language is one of `languages`; None where none is named."""
        if not self.languages:
            return None
        wanted = pc.is_in(pairs["language"], pa.array(self.languages))
        return np.asarray(wanted.to_numpy(zero_copy_only=False), dtype=bool)
