"""Check a run against a policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb
import fsspec

from foundation.config import parse
from foundation.errors import InvalidInput
from pipeline.inspect.catalog import attach, connect
from pipeline.inspect.check.policy import Policy
from pipeline.inspect.check.query import QueryError
from pipeline.inspect.check.rule import PREVIOUS, Gate, Measured, Rule
from pipeline.recipe import Recipe, load_recipe
from pipeline.run.manifest import RunError
from pipeline.run.names import RECIPE_FILE


@dataclass(frozen=True)
class RuleResult:
    """The result of one rule."""

    rule: Rule
    name: str
    outcome: Literal["passed", "failed", "skipped"]
    worst: Measured | None  # the figure furthest beyond the limit, or nearest to it; None where there was none
    failing: list[Measured]  # all that break the rule, the worst first

    @property
    def stops(self) -> bool:
        """Whether the gate fails because of this rule."""
        return self.outcome == "failed" and self.rule.severity == "error"


class RuleError(InvalidInput):
    """A rule that cannot be measured; `number` is its position in the policy, from 0."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


def check(
    run: str | Path,
    policy: Policy,
    against: str | Path | None = None,
    threads: int | None = None,
    memory: str | None = None,
) -> list[RuleResult]:
    """Check every rule: one result each, in the policy's order.

    Args:
        run: a run's folder or address, as for `pipeline.inspect.catalog.connect`.
        against: the previous run; without one, rules that compare are skipped.
        threads: of DuckDB.
        memory: DuckDB's limit, such as "4GiB".

    Raises:
        RunError: a run cannot be read.
        RuleError: a query of the policy does not run or gives no number.
    """
    with connect(run, threads, memory) as connection:
        if against is not None:
            attach(connection, PREVIOUS, against)
        gate = Gate(connection, _recipe(run), None if against is None else str(against))
        return list(_results(gate, policy, run))


def _results(gate: Gate, policy: Policy, run: str | Path) -> Iterator[RuleResult]:
    for number, rule in enumerate(policy.rules):
        try:
            yield _result(gate, rule, rule.name or _default_name(rule))
        except QueryError as error:
            raise RuleError(number, str(error)) from error
        except (duckdb.Error, OSError) as error:
            raise RunError(f"{run} cannot be read, which rule {rule.name or rule.kind} asks for: {error}") from error


def _result(gate: Gate, rule: Rule, name: str) -> RuleResult:
    if rule.asks_previous and gate.against is None:
        return RuleResult(rule, name, "skipped", None, [])
    figures = sorted(rule.measure(gate), key=_furthest(rule), reverse=True)
    failing = [figure for figure in figures if rule.fails(figure)]
    worst = next(iter([*failing, *figures]), None)
    return RuleResult(rule, name, "failed" if failing else "passed", worst, failing)


def _furthest(rule: Rule) -> Callable[[Measured], float]:
    return lambda figure: rule.beyond(figure)


def _default_name(rule: Rule) -> str:
    """The kind of the rule, with its `of` and `per` where they are not the defaults."""
    parts = [
        part for part in (getattr(rule, "of", "scored"), getattr(rule, "per", "run")) if part not in ("scored", "run")
    ]
    return rule.kind.replace("_", " ") + (f" ({', '.join(parts)})" if parts else "")


def _recipe(run: str | Path) -> Recipe:
    if "://" in str(run):
        path = f"{str(run).rstrip('/')}/{RECIPE_FILE}"
        with fsspec.open(path, "rt", encoding="utf-8") as file:
            return parse(Recipe, file.read(), path)
    return load_recipe(Path(run) / RECIPE_FILE)
