"""The funnel of a run: rows per source and reason, overlapping and exclusive, from the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.run.folder import Run, Step

LEDGER_STEPS: tuple[Step, ...] = ("read", "judge", "download", "score", "select")

LEDGER_STAGES = ("read", "plan", "download", "score", "select")
REASONS = f"""
    select source, stage, outcome, reason,
           sum(rows)::bigint as pairs,
           coalesce(sum(rows) filter (len(reasons) = 1), 0)::bigint as only_reason
    from (select source, stage, outcome, reasons, rows, unnest(reasons) as reason from ledger)
    group by source, stage, outcome, reason
    order by source, list_position({list(LEDGER_STAGES)}, stage), pairs desc, reason
"""


def ledger_files(run: Run) -> list[str]:
    """Paths of all ledger files that a manifest names."""
    ledger = (run.folder / name for step in LEDGER_STEPS for found in run.manifests(step) for name in found.files)
    return [str(path) for path in ledger if path.is_relative_to(run.folder / "ledger")]


def reasons(run: Run) -> pa.Table:
    """source, stage, outcome, reason, pairs (with this reason among others), only_reason (with this one alone)."""
    return query_ledger(run, REASONS)


def by_stage(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, tuple[int, int]]]]:
    """Rows of `reasons` as stage → reason → source → (pairs, only_reason): stages in order, frequent reasons first."""
    found: dict[str, dict[str, dict[str, tuple[int, int]]]] = {stage: {} for stage in LEDGER_STAGES}
    for row in rows:
        found[row["stage"]].setdefault(row["reason"], {})[row["source"]] = (row["pairs"], row["only_reason"])
    return {stage: dict(sorted(of.items(), key=_pairs, reverse=True)) for stage, of in found.items() if of}


def _pairs(entry: tuple[str, dict[str, tuple[int, int]]]) -> int:
    return sum(pairs for pairs, _ in entry[1].values())


def query_ledger(run: Run, sql: str) -> pa.Table:
    """Runs a query in which `ledger` is every committed ledger row of the run."""
    files = ledger_files(run)
    with duckdb.connect() as connection:
        connection.execute("set enable_progress_bar = false")
        if files:
            connection.execute(f"create view ledger as select * from read_parquet({_sql_list(files)})")
        else:
            from pipeline.run.ledger import LEDGER_SCHEMA

            connection.register("ledger", LEDGER_SCHEMA.empty_table())
        return connection.sql(sql).to_arrow_table()


def _sql_list(values: list[str]) -> str:
    return "[" + ", ".join("'" + value.replace("'", "''") + "'" for value in values) + "]"
