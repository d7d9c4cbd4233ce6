"""Everything that a run knows of one pair."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as pq

from foundation.errors import InvalidInput
from pipeline.serve.segments import LOST_ON_THE_WAY, PLAN, PUBLISHED, RULES, SEGMENTS, Segment
from pipeline.serve.watched import Watch
from pipeline.stages.dedup_images.tables import CLUSTERS_ENDING, SHARD
from pipeline.stages.layout import read_layout

MOST_MEMBERS = 60  # of a cluster that are shown
STAGES_OF_ROWS = {"download": "download", "score": "score", "decision": "select"}


class NoSuchPair(InvalidInput, LookupError):
    """The run has no pair of that key."""


@dataclass
class Pair:
    """Rows of the run's files, None where there is none yet or any more."""

    key: str
    plan: dict[str, Any] | None = None
    download: dict[str, Any] | None = None
    score: dict[str, Any] | None = None
    decision: dict[str, Any] | None = None
    published: dict[str, Any] | None = None
    entries: list[dict[str, Any]] = field(default_factory=list)  # of the ledger
    members: list[dict[str, Any]] = field(default_factory=list)  # of its cluster, itself among them
    cluster_size: int = 0

    @property
    def text(self) -> dict[str, Any]:
        """Source, file, row, url and caption."""
        return self.plan or self.published or self.entries[0]


def read_pair(connection: duckdb.DuckDBPyConnection, watch: Watch, key: str, place: str = "") -> Pair:
    """The pair of a key.

    Args:
        place: segment and shard where the list found it, such as "rules.000003", which spares a search of the ledger.

    Raises:
        NoSuchPair: there is none.
    """
    pair = Pair(key)
    shard = shard_of(watch, PLAN, key)
    if shard:
        pair.plan = _row(connection, watch, "plan", shard, key)
        for name, stage in STAGES_OF_ROWS.items():
            setattr(pair, name, _row(connection, watch, stage, shard, key))
        for segment in LOST_ON_THE_WAY:
            pair.entries += _entries(connection, watch, segment, [shard], key)
    published = shard_of(watch, PUBLISHED, key)
    if published:
        pair.published = _row(connection, watch, "publish", published, key)
    pair.entries = _entries(connection, watch, RULES, _rule_shards(watch, pair, place), key) + pair.entries
    if not (pair.plan or pair.published or pair.entries):
        raise NoSuchPair(key)
    _add_cluster(connection, watch, pair)
    return pair


def shard_of(watch: Watch, segment: Segment, key: str) -> str | None:
    """The shard of a segment in key order in which a key lies, if it is there; None where it lies before all."""
    shards = list(watch.run.committed(segment.stage))
    place = bisect_right(shards, key, key=lambda shard: _first_key(watch, segment, shard))
    return shards[place - 1] if place else None


def _first_key(watch: Watch, segment: Segment, shard: str) -> str:
    def read() -> str:
        groups = pq.read_metadata(segment.path(watch.run, shard))
        if not groups.num_rows:
            return ""
        columns = [groups.row_group(0).column(number) for number in range(groups.num_columns)]
        return str(next(one.statistics.min for one in columns if one.path_in_schema == "key"))

    found: str = watch.once(f"first {segment.name} {shard}", read)
    return found


def _row(
    connection: duckdb.DuckDBPyConnection, watch: Watch, stage: str, shard: str, key: str
) -> dict[str, Any] | None:
    if shard not in watch.run.committed(stage):
        return None
    path = str(watch.run.path(stage, f"{shard}.parquet"))
    found = _select(connection, [path], key)
    return {"shard": shard, "folder": watch.run.stages[stage].folder, **found[0]} if found else None


def _entries(
    connection: duckdb.DuckDBPyConnection, watch: Watch, segment: Segment, shards: list[str], key: str
) -> list[dict[str, Any]]:
    done = watch.run.committed(segment.stage)
    return _select(connection, [segment.path(watch.run, shard) for shard in shards if shard in done], key)


def _select(connection: duckdb.DuckDBPyConnection, files: list[str], key: str) -> list[dict[str, Any]]:
    if not files:
        return []
    answer = connection.execute("from read_parquet($files) where key = $key", {"files": files, "key": key})
    names = [name for name, *_ in answer.description]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def _rule_shards(watch: Watch, pair: Pair, place: str) -> list[str]:
    """Shards of the rules' ledger that may hold the key: they are buckets of captions, not in key order."""
    name, _, shard = place.partition(".")
    if SEGMENTS.get(name) is RULES and shard in watch.run.committed("filter"):
        return [shard]
    known = pair.plan or pair.published
    layout = read_layout(watch.run) if watch.run.committed("filter") else None
    if known and layout and layout.hasher == f"polars {pl.__version__}":
        bucket = pl.Series([known["caption"]]).hash().to_numpy()[0] % np.uint64(layout.buckets)
        return [f"{bucket:06d}"]
    return list(watch.run.committed("filter"))


def _add_cluster(connection: duckdb.DuckDBPyConnection, watch: Watch, pair: Pair) -> None:
    if not (pair.score and watch.run.committed("dedup_images")):
        return
    path = str(watch.run.path("dedup_images", f"{SHARD}{CLUSTERS_ENDING}"))
    query = """
        from read_parquet($path) where cluster = (select cluster from read_parquet($path) where key = $key)
        order by key <> cluster, distance, key
    """
    answer = connection.execute(query, {"path": path, "key": pair.key})
    names = [name for name, *_ in answer.description]
    rows = answer.fetchall()
    pair.cluster_size = len(rows)
    pair.members = [dict(zip(names, row, strict=True)) for row in rows[:MOST_MEMBERS]]
