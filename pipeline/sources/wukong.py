"""Wukong: 100 million Chinese pairs as CSV files with the columns url and caption."""

from __future__ import annotations

from typing import Literal

from pipeline.sources.tabular import TabularSource


class WukongSource(TabularSource):
    """Wukong's wukong_100m_{0..255}.csv with the columns url and caption."""

    kind: Literal["wukong"]

    def file_format(self, file: str) -> str:  # noqa: ARG002
        """CSV, whatever the file is called."""
        return "csv"
