"""The base of all rules: a rule measures one figure of a run, for the run or for each of its parts."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import duckdb
from pydantic import model_validator

from foundation.config import Config, value
from foundation.sql import literal
from pipeline.recipe import Recipe

PREVIOUS = "previous"  # schema of the run that --against names
Per = Literal["run", "source"]


@dataclass(frozen=True)
class Gate:
    """What rules measure: the catalog of a run, and that of the previous run as schema `previous`."""

    connection: duckdb.DuckDBPyConnection
    recipe: Recipe
    against: str | None  # folder or address of the previous run

    def rows(self, sql: str, values: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """All rows of a query on the catalog; `values` are its parameters."""
        return self.connection.execute(sql, values).fetchall() if values else self.connection.execute(sql).fetchall()


@dataclass(frozen=True)
class Measured:
    """One figure."""

    subject: str | None  # the source, domain or caption that it is of; None: the whole run
    value: float | None  # None where there is nothing to measure
    note: str  # the counts behind it
    excused: bool = False  # beyond the limit, but within what chance explains


class Rule(Config):
    """One rule. Subclasses have a field `rule` with their name in a policy, and limits `min` or `max` (both allowed)."""

    unit: ClassVar[Literal["share", "change", "count", "number"]] = "share"
    advice: ClassVar[str] = ""  # what a failure means, in a sentence
    needs_previous: ClassVar[bool] = False

    name: str | None = value(None, "how tables call it; by default the name of the rule")
    severity: Literal["error", "warn"] = value("error", "whether the gate fails, or only tells")

    @abstractmethod
    def measure(self, gate: Gate) -> Sequence[Measured]:
        """The figures; none where the run has no such part, which passes."""

    @abstractmethod
    def evidence(self, worst: Measured) -> str:
        """SQL on the run's catalog that shows the rows behind the figure furthest beyond the limit."""

    @model_validator(mode="after")
    def _has_a_limit(self) -> Rule:
        if self.limits == (None, None):
            raise ValueError("needs min, max or both")
        return self

    @property
    def kind(self) -> str:
        """The name of the rule in a policy."""
        return str(getattr(self, "rule"))  # noqa: B009  a field of every subclass

    @property
    def asks_previous(self) -> bool:
        """Whether it can only be measured against a previous run."""
        return self.needs_previous

    @property
    def limits(self) -> tuple[float | None, float | None]:
        """Least and largest figure allowed."""
        return getattr(self, "min", None), getattr(self, "max", None)

    def beyond(self, figure: Measured) -> float:
        """How far a figure is beyond its limits: 0 or less within them; infinite where there is no figure."""
        if figure.value is None or math.isnan(figure.value):
            return math.inf
        low, high = self.limits
        return max(-math.inf if low is None else low - figure.value, -math.inf if high is None else figure.value - high)

    def fails(self, figure: Measured) -> bool:
        """Whether a figure breaks the rule. One that equals its limit does not."""
        return self.beyond(figure) > 0 and not figure.excused


def measured(rows: Sequence[tuple[Any, ...]]) -> list[Measured]:
    """From rows of (subject, value, note)."""
    return [Measured(subject, None if number is None else float(number), note) for subject, number, note in rows]


def subject_of(per: str) -> str:
    """The SQL of a subject, for `group by all`: the source, or null for the whole run."""
    return "source" if per == "source" else "null::varchar"


def where_subject(figure: Measured, column: str = "source", keyword: str = "where") -> str:
    """` where source = …` of the subject, or nothing for the whole run."""
    return f" {keyword} {column} = {literal(figure.subject)}" if figure.subject is not None else ""
