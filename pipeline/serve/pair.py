"""All rows of a run that belong to one pair."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as pq

from foundation.errors import InvalidInput
from pipeline.serve.live_run import LiveRun
from pipeline.serve.segments import LEDGERS, PLAN, PUBLISHED, RULES, SEGMENTS, Segment
from pipeline.stages.dedup_images.tables import CLUSTERS_ENDING, SHARD
from pipeline.stages.layout import read_layout
from pipeline.stages.registry import STAGES

MAX_MEMBERS = 60  # of a cluster that are shown
IN_PLAN_SHARDS = tuple(name for name, stage in STAGES.items() if stage.per_plan_shard)
WITH_ROWS = tuple(
    name
    for name in IN_PLAN_SHARDS
    if any(view.ending == ".parquet" and "key" in view.schema.names for view in STAGES[name].views)
)
"""Stages whose file of a plan shard has a row for each pair that they know."""


class NoSuchPair(InvalidInput, LookupError):
    """The run has no pair of that key."""


@dataclass
class Pair:
    """What the run's files hold of the pair."""

    key: str
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)  # stage → its row; none (yet), or it was deleted
    passed: set[str] = field(default_factory=set)  # stages that have done its plan shard
    entries: list[dict[str, Any]] = field(default_factory=list)  # of the ledger, in the order of the flow
    members: list[dict[str, Any]] = field(default_factory=list)  # of its cluster, itself among them
    cluster_size: int = 0

    @property
    def plan(self) -> dict[str, Any] | None:
        """Its row in the plan: the rules kept it."""
        return self.rows.get(PLAN.stage)

    @property
    def score(self) -> dict[str, Any] | None:
        """Its row of the score stage."""
        return self.rows.get("score")

    @property
    def published(self) -> dict[str, Any] | None:
        """Its row in the index of a published shard."""
        return self.rows.get(PUBLISHED.stage)

    @property
    def text(self) -> dict[str, Any]:
        """Source, file, row, url and caption."""
        return self.plan or self.published or self.entries[0]


def read_pair(connection: duckdb.DuckDBPyConnection, live_run: LiveRun, key: str, position: str = "") -> Pair:
    """The pair of a key.

    Args:
        position: segment and shard where the list found it, such as "rules.000003", which spares a search of the ledger.

    Raises:
        NoSuchPair: there is none.
    """
    pair = Pair(key)
    shard = shard_of(live_run, PLAN, key)
    if shard:
        pair.passed = {name for name in IN_PLAN_SHARDS if shard in live_run.run.committed(name)}
        _add_rows(connection, live_run, pair, WITH_ROWS, shard)
    published = shard_of(live_run, PUBLISHED, key)
    if published:
        _add_rows(connection, live_run, pair, [PUBLISHED.stage], published)
    for segment in {segment.stage: segment for segment in LEDGERS.values()}.values():
        if segment is RULES:
            shards = _rule_shards(live_run, pair, position)
        elif segment.stage in IN_PLAN_SHARDS:
            shards = [shard] if shard else []
        else:
            shards = list(live_run.run.committed(segment.stage))
        pair.entries += _entries(connection, live_run, segment, shards, key)
    if not (pair.plan or pair.published or pair.entries):
        raise NoSuchPair(key)
    _add_cluster(connection, live_run, pair)
    return pair


def shard_of(live_run: LiveRun, segment: Segment, key: str) -> str | None:
    """The shard of a segment in key order that a key belongs to; None where the key is below every shard's first."""
    shards = list(live_run.run.committed(segment.stage))
    position = bisect_right(shards, key, key=lambda shard: _first_key(live_run, segment, shard))
    return shards[position - 1] if position else None


def _first_key(live_run: LiveRun, segment: Segment, shard: str) -> str:
    def read() -> str:
        groups = pq.read_metadata(segment.path(live_run.run, shard))
        if not groups.num_rows:
            return ""
        columns = [groups.row_group(0).column(number) for number in range(groups.num_columns)]
        return str(next(column.statistics.min for column in columns if column.path_in_schema == "key"))

    first_key: str = live_run.once(f"first {segment.name} {shard}", read)
    return first_key


def _add_rows(
    connection: duckdb.DuckDBPyConnection, live_run: LiveRun, pair: Pair, stages: Iterable[str], shard: str
) -> None:
    """Add the pair's row of each stage that has done a shard and knows the pair."""
    for stage in stages:
        if shard in live_run.run.committed(stage):
            for row in _select(connection, [live_run.run.path(stage, shard)], pair.key)[:1]:
                pair.rows[stage] = {"shard": shard, "folder": live_run.run.stages[stage].folder, **row}


def _entries(
    connection: duckdb.DuckDBPyConnection, live_run: LiveRun, segment: Segment, shards: list[str], key: str
) -> list[dict[str, Any]]:
    done = live_run.run.committed(segment.stage)
    return _select(connection, [segment.path(live_run.run, shard) for shard in shards if shard in done], key)


def _select(connection: duckdb.DuckDBPyConnection, files: list[str], key: str) -> list[dict[str, Any]]:
    if not files:
        return []
    answer = connection.execute("from read_parquet($files) where key = $key", {"files": files, "key": key})
    names = [name for name, *_ in answer.description]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def _rule_shards(live_run: LiveRun, pair: Pair, position: str) -> list[str]:
    """Shards of the rules' ledger that may hold the key: they are buckets of captions, not in key order."""
    name, _, shard = position.partition(".")
    if SEGMENTS.get(name) is RULES and shard in live_run.run.committed("filter"):
        return [shard]
    known = pair.plan or pair.published
    layout = read_layout(live_run.run) if live_run.run.committed("filter") else None
    if known and layout and layout.hasher == f"polars {pl.__version__}":
        bucket = pl.Series([known["caption"]]).hash().to_numpy()[0] % np.uint64(layout.buckets)
        return [f"{bucket:06d}"]
    return list(live_run.run.committed("filter"))


def _add_cluster(connection: duckdb.DuckDBPyConnection, live_run: LiveRun, pair: Pair) -> None:
    if not (pair.score and live_run.run.committed("dedup_images")):
        return
    path = live_run.run.path("dedup_images", SHARD, CLUSTERS_ENDING)
    query = """
        from read_parquet($path) where cluster = (select cluster from read_parquet($path) where key = $key)
        order by key <> cluster, distance, key
    """
    answer = connection.execute(query, {"path": path, "key": pair.key})
    names = [name for name, *_ in answer.description]
    rows = answer.fetchall()
    pair.cluster_size = len(rows)
    pair.members = [dict(zip(names, row, strict=True)) for row in rows[:MAX_MEMBERS]]
