"""Queries on a run's catalog, and uniform samples of it that cost little at any size."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import duckdb

Row = dict[str, Any]


def rows(connection: duckdb.DuckDBPyConnection, sql: str, **values: Any) -> list[Row]:
    """The answer, a dict per row. `$name` in the query is the value of that name."""
    found = connection.sql(sql, params=values) if values else connection.sql(sql)
    return found.to_arrow_table().to_pylist()


@dataclass(frozen=True)
class KeyRange:
    """A part of the key space. A key is an MD5, so the pairs in a range are a uniform sample of all pairs."""

    first: str  # 32 hex digits
    last: str

    @classmethod
    def holding(cls, wanted: int, among: int, seed: int) -> KeyRange:
        """A range that holds about `wanted` of `among` keys, at a place that `seed` chooses; all of them if there are fewer."""
        share = min(1.0, wanted / max(1, among))
        start = random.Random(seed).uniform(0, 1 - share)
        last = min(0xFFFFFFFF, int((start + share) * 2**32))
        return cls(f"{int(start * 2**32):08x}" + 24 * "0", f"{last:08x}" + 24 * "f")

    @property
    def sql(self) -> str:
        """As a condition on the column `key`."""
        return f"key between '{self.first}' and '{self.last}'"
