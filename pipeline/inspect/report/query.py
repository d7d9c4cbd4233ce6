"""Queries on a run's catalog, and uniform samples of it that cost little at any size."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import duckdb

from pipeline.run.manifest import RunError

Row = dict[str, Any]


def rows(connection: duckdb.DuckDBPyConnection, sql: str, **values: Any) -> list[Row]:
    """Run a query: a dict per row. `$name` in the query stands for the value of that name.

    Raises:
        RunError: a file of the run is missing or damaged.
    """
    try:
        relation = connection.sql(sql, params=values) if values else connection.sql(sql)
        return relation.to_arrow_table().to_pylist()
    except (duckdb.IOException, duckdb.InvalidInputException) as error:
        raise RunError(f"a file of the run cannot be read: {error}; `zhclip verify` names every fault") from None


@dataclass(frozen=True)
class KeyRange:
    """A part of the key space. A key is an MD5, so the pairs in a range are a uniform sample of all pairs."""

    first: str  # 32 hex digits
    last: str

    @classmethod
    def holding(cls, wanted: int, total: int, seed: int) -> KeyRange:
        """A range that holds about `wanted` of `total` keys, at a position drawn with `seed`; all keys if there are fewer."""
        share = min(1.0, wanted / max(1, total))
        start = random.Random(seed).uniform(0, 1 - share)
        last = min(0xFFFFFFFF, int((start + share) * 2**32))
        return cls(f"{int(start * 2**32):08x}" + 24 * "0", f"{last:08x}" + 24 * "f")

    @property
    def sql(self) -> str:
        """The range as an SQL condition on the column `key`."""
        return f"key between '{self.first}' and '{self.last}'"
