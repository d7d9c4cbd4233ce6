"""Any table of urls and captions, by a column mapping."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Literal, Self

import pyarrow as pa
from pydantic import field_validator, model_validator

from foundation.config import value
from foundation.pairs import PAIR_SCHEMA
from pipeline.sources.columns import as_singleton_lists, trimmed_column
from pipeline.sources.tabular import TabularSource, format_of
from pipeline.sources.translation import Translation

MAPPABLE = tuple(name for name in PAIR_SCHEMA.names if name not in ("source", "file", "row"))
"""What a table's `columns` may map."""


class TableSource(TabularSource):
    """Any Parquet, CSV or JSONL file with a column mapping (DanQing, Zero, TaiSu, your own crawl)."""

    kind: Literal["table"]
    format: Literal["parquet", "csv", "jsonl"] | None = value(None, "null: by the file name")
    columns: dict[str, str] = value(
        {"url": "url", "caption": "caption"},
        "pair column → column of the file; `url` is needed, and `caption` (or `english` where there is a translation)",
    )
    translation: Translation | None = value(
        None, "where the Chinese of the column `english` comes from; files are looked up by `image_id`"
    )

    @field_validator("columns")
    @classmethod
    def _pair_columns(cls, columns: dict[str, str]) -> dict[str, str]:
        for name in columns:
            if name not in MAPPABLE:
                near = difflib.get_close_matches(name, MAPPABLE, n=1)
                hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(MAPPABLE)}"
                raise ValueError(f"a pair has no column `{name}`; {hint}")
        return columns

    @model_validator(mode="after")
    def _has_english(self) -> Self:
        if self.translation and "english" not in self.columns:
            raise ValueError("a translation needs the column `english` in `columns`")
        return self

    def file_format(self, file: str) -> str:
        """`format`, or what the file's name says."""
        return self.format or format_of(file)

    def column_names(self) -> Mapping[str, str]:
        """`columns`, as the recipe has them."""
        return self.columns

    def required_columns(self) -> tuple[str, ...]:
        """The url, and the text that is the caption or becomes it."""
        return ("url", "english") if self.translation else ("url", "caption")

    @property
    def translated_by(self) -> Translation | None:
        """`translation`."""
        return self.translation

    def english(self, raw: pa.Table) -> pa.ListArray | None:
        """The column `english`, one text a row; None without a translation, where it is for people to read."""
        return as_singleton_lists(trimmed_column(raw, self.columns["english"])) if self.translation else None

    def text_ids(self, raw: pa.Table) -> list[pa.ListArray]:
        """The column `image_id`."""
        return [as_singleton_lists(trimmed_column(raw, self.columns.get("image_id", "")))]
