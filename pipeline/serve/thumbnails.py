"""Thumbnails of the pair list: caption, source, score and outcome of each pair."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from pipeline.run.outcomes import WAITING, Outcome
from pipeline.serve.listing import Position
from pipeline.serve.live_run import LiveRun
from pipeline.serve.segments import DECISIONS, LOSS_SEGMENTS, PLAN, PUBLISHED, SEGMENTS, Segment, wholly_published
from pipeline.stages.registry import STAGES, outcome_of

MAX_CAPTION = 240  # characters in the list; the page of a pair shows all
TEXTS = f"key, source, url, left(caption, {MAX_CAPTION + 1}) as caption"
AFTER_DOWNLOAD = list(STAGES)[list(STAGES).index("download") + 1 :]
ENTRY = "stage, outcome, reasons, detail, score"

Rows = dict[Position, dict[str, Any]]


@dataclass(frozen=True)
class Thumbnail:
    """One pair of the list."""

    position: Position
    source: str
    url: str | None
    caption: str | None
    outcome: Outcome = WAITING
    stage: str = PLAN.stage  # the last one whose word on it is known
    reasons: list[str] = field(default_factory=list)
    detail: str | None = None
    score: float | None = None

    @property
    def has_image(self) -> bool:
        """Whether an image of it was stored at some time."""
        return self.stage in AFTER_DOWNLOAD


def thumbnails(
    connection: duckdb.DuckDBPyConnection, live_run: LiveRun, positions: Sequence[Position]
) -> list[Thumbnail]:
    """The thumbnails at `positions`, in order; a pair with several rows in a file has one."""
    rows: Rows = {}
    for name in {position.segment for position in positions}:
        segment_positions = [position for position in positions if position.segment == name]
        rows |= _of_segment(connection, live_run, SEGMENTS[name], segment_positions)
    return [_thumbnail(position, **rows[position]) for position in dict.fromkeys(positions) if position in rows]


def _thumbnail(position: Position, stage: str = PLAN.stage, outcome: str | None = None, **values: Any) -> Thumbnail:
    return Thumbnail(position, outcome=outcome_of(stage, outcome), stage=stage, **values)


def _of_segment(
    connection: duckdb.DuckDBPyConnection, live_run: LiveRun, segment: Segment, positions: list[Position]
) -> Rows:
    if segment.outcome:
        return _rows(connection, live_run, segment, positions, f"{TEXTS}, {ENTRY}")
    if segment is not PLAN:
        return _rows(connection, live_run, segment, positions, f"{TEXTS}, score, '{segment.stage}' as stage")
    rows = _rows(connection, live_run, PLAN, positions, TEXTS)
    for position, outcome in _outcomes(connection, live_run, positions).items():
        rows[position] |= outcome
    return rows


def _outcomes(connection: duckdb.DuckDBPyConnection, live_run: LiveRun, positions: list[Position]) -> Rows:
    """Last stage, score and ledger entry of planned pairs that got past the plan."""
    rows: Rows = {}
    for position, decision in _rows(connection, live_run, DECISIONS, positions, "key, score").items():
        last = PUBLISHED if wholly_published(live_run, position.shard) else DECISIONS
        rows[position] = {**decision, "stage": last.stage}
    for segment in LOSS_SEGMENTS:
        rows |= _rows(connection, live_run, segment, positions, f"key, {ENTRY}")
    return rows


def _rows(
    connection: duckdb.DuckDBPyConnection,
    live_run: LiveRun,
    segment: Segment,
    positions: Iterable[Position],
    columns: str,
) -> Rows:
    """Columns of a segment for the pairs at `positions`, which may be of another segment with the same shards."""
    done = live_run.run.committed(segment.stage)
    by_key = {position.key: position for position in positions if position.shard in done}
    if not by_key:
        return {}
    files = sorted({segment.path(live_run.run, position.shard) for position in by_key.values()})
    query = f"select {columns} from read_parquet($files) where key in (select unnest($keys))"
    answer = connection.execute(query, {"files": files, "keys": list(by_key)})
    names = [name for name, *_ in answer.description]
    rows = [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
    return {by_key[row.pop("key")]: row for row in rows}
