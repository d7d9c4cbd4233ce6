"""The funnel of a run: where every row went, by source and outcome, from the manifests alone; and why, from the ledger.

This is the one place that counts it: status, catalog, report, web service, data card and `verify` read it here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from foundation.sql import connect, let_read
from pipeline.run.counts import stage_counts
from pipeline.run.folder import Run
from pipeline.run.ledger import LEDGER_SCHEMA
from pipeline.run.manifest import RunError
from pipeline.run.outcomes import WAITING
from pipeline.stages.registry import LEDGER_STAGES, OUTCOMES, STAGES

FIRST = "read"
"""The stage that counts the rows of the metadata."""


@dataclass(frozen=True)
class SourceFunnel:
    """Where the rows of one source went."""

    source: str
    read: int
    outcomes: Mapping[str, int]  # outcome key → rows, for every outcome of the registry, in the order of the flow
    unknown: int  # blocks of unreadable files whose number of rows cannot be told

    @property
    def waiting(self) -> int:
        """Rows that were read and that no stage has decided on yet: 0, always, once a run is complete."""
        return self.read - sum(self.outcomes.values())

    def to_json(self) -> dict[str, Any]:
        """Plain values: source, read, each outcome, waiting (rows that came out nowhere yet) and unknown."""
        return {
            "source": self.source,
            "read": self.read,
            **self.outcomes,
            WAITING.key: self.waiting,
            "unknown": self.unknown,
        }


@dataclass(frozen=True)
class StageFunnel:
    """Rows of one source into and out of one stage."""

    source: str
    stage: str
    rows_in: int
    lost: Mapping[str, int]  # ledger outcome → rows
    rows_out: int


def stage_funnels(run: Run) -> list[StageFunnel]:
    """One for each source and stage that counts rows and has begun, in the order of the recipe and of the flow."""
    counted = {name: stage_counts(run, name) for name, stage in STAGES.items() if stage.outcomes}
    return [
        StageFunnel(source, name, counts["in"], lost_rows(name, counts), counts["out"])
        for source in run.recipe.sources
        for name, by_source in counted.items()
        if (counts := by_source.get(source)) is not None
    ]


def lost_rows(stage: str, counts: Mapping[str, int]) -> dict[str, int]:
    """Ledger outcome → rows that a stage lost, of its counts of one source."""
    return {outcome.ledger: counts.get(outcome.ledger, 0) for outcome in STAGES[stage].outcomes if outcome.ledger}


def source_funnels(run: Run) -> list[SourceFunnel]:
    """One for each source of the recipe."""
    counted = {name: stage_counts(run, name) for name, stage in STAGES.items() if stage.outcomes}

    def rows(source: str, stage: str, name: str) -> int:
        return counted[stage].get(source, Counter())[name]

    return [
        SourceFunnel(
            source,
            rows(source, FIRST, "in"),
            {key: rows(source, stage, outcome.ledger or "out") for key, (stage, outcome) in OUTCOMES.items()},
            rows(source, FIRST, "unknown"),
        )
        for source in run.recipe.sources
    ]


REASONS = f"""
    select source, stage, outcome, reason,
           sum(rows)::bigint as pairs,
           coalesce(sum(rows) filter (len(reasons) = 1), 0)::bigint as only_reason
    from (select source, stage, outcome, reasons, rows, unnest(reasons) as reason from ledger)
    group by source, stage, outcome, reason
    order by source, list_position({list(LEDGER_STAGES)}, stage), pairs desc, reason
"""


def reasons(run: Run) -> pa.Table:
    """source, stage, outcome, reason, pairs (with this reason among others), only_reason (with this one alone)."""
    return query_ledger(run, REASONS)


def by_stage(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, tuple[int, int]]]]:
    """Rows of `reasons` as stage → reason → source → (pairs, only_reason): stages in order, frequent reasons first."""
    stages: dict[str, dict[str, dict[str, tuple[int, int]]]] = {stage: {} for stage in LEDGER_STAGES}
    for row in rows:
        stages[row["stage"]].setdefault(row["reason"], {})[row["source"]] = (row["pairs"], row["only_reason"])
    return {name: dict(sorted(of.items(), key=_pairs, reverse=True)) for name, of in stages.items() if of}


def _pairs(entry: tuple[str, dict[str, tuple[int, int]]]) -> int:
    return sum(pairs for pairs, _ in entry[1].values())


def ledger_files(run: Run) -> list[str]:
    """Names of all ledger files that a manifest names."""
    return [manifest.ledger for stage in LEDGER_STAGES for manifest in run.manifests(stage) if manifest.ledger]


def query_ledger(run: Run, sql: str) -> pa.Table:
    """Run a query in which `ledger` is every committed ledger row of the run.

    Raises:
        RunError: a ledger file is missing or damaged.
    """
    files = [f"{run.address}/{name}" for name in ledger_files(run)]
    with connect() as connection:
        let_read(connection, run.address)
        try:
            if files:
                connection.read_parquet(files).create_view("ledger")
            else:
                connection.register("ledger", LEDGER_SCHEMA.empty_table())
            return connection.sql(sql).to_arrow_table()
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            raise RunError(
                f"{run.address}: its ledger cannot be read: {error}; `zhclip verify` names every fault"
            ) from None
