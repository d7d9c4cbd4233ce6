"""The general rule: any SQL that gives one number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import duckdb

from foundation.config import value
from foundation.errors import InvalidInput
from foundation.text import counted
from pipeline.inspect.check.rule import PREVIOUS, Gate, Measured, Rule


class QueryError(InvalidInput):
    """A query that does not run, or gives something else than one number."""


class Query(Rule):
    """A query on the catalog that returns one number; the previous run's views are `previous.pairs` and so on."""

    unit: ClassVar = "number"
    rule: Literal["sql"]
    name: str = value(..., "how tables call it", min_length=1)
    sql: str = value(..., "one query that returns one row with one number", min_length=1)
    min: float | None = value(None, "least number")
    max: float | None = value(None, "largest number")
    why: str = value("", "what a failure means, shown with it")

    @property
    def asks_previous(self) -> bool:
        return f"{PREVIOUS}." in self.sql

    def measure(self, gate: Gate) -> Sequence[Measured]:
        """The number; raises QueryError."""
        try:
            rows = gate.rows(self.sql)
        except duckdb.Error as error:
            raise QueryError(f"the query does not run: {error}") from error
        if len(rows) != 1 or len(rows[0]) != 1:
            raise QueryError(
                f"the query gives {counted(len(rows), 'row')} of {counted(len(rows[0]) if rows else 0, 'column')}, not one number"
            )
        try:
            number = None if rows[0][0] is None else float(rows[0][0])
        except (TypeError, ValueError):
            raise QueryError(f"the query gives {rows[0][0]!r}, not a number") from None
        figure = Measured(None, number, "")
        note = "the query gives no number" if number is None else self.why if self.fails(figure) else ""
        return [Measured(None, number, note)]

    def evidence(self, worst: Measured) -> str:  # noqa: ARG002
        return " ".join(self.sql.split())
