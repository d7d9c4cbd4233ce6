"""What the list shows of each pair: caption, source, score, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from pipeline.serve.listing import Place
from pipeline.serve.segments import DECISIONS, LOST_ON_THE_WAY, PLAN, SEGMENTS, Segment, wholly_published
from pipeline.serve.watched import Watch
from pipeline.stages.registry import STAGES

LONGEST_CAPTION = 240  # characters in the list; the page of a pair shows all
TEXTS = f"key, source, url, left(caption, {LONGEST_CAPTION + 1}) as caption"
AFTER_DOWNLOAD = list(STAGES)[list(STAGES).index("download") + 1 :]
ENTRY = "stage, outcome as state, reasons, detail, score"


@dataclass(frozen=True)
class Card:
    """One pair of the list."""

    place: Place
    source: str
    url: str | None
    caption: str | None
    state: str = "waiting"  # or published, kept, rejected, failed
    stage: str = ""  # where it was dropped
    reasons: list[str] = field(default_factory=list)
    detail: str | None = None
    score: float | None = None

    @property
    def has_image(self) -> bool:
        """Whether an image of it was stored at some time."""
        return self.state in ("published", "kept") or self.stage in AFTER_DOWNLOAD


def cards(connection: duckdb.DuckDBPyConnection, watch: Watch, places: Sequence[Place]) -> list[Card]:
    """The cards of places, in their order; a pair that was met twice in a file has one."""
    found: dict[Place, dict[str, Any]] = {}
    for name in {place.segment for place in places}:
        mine = [place for place in places if place.segment == name]
        found |= _of_segment(connection, watch, SEGMENTS[name], mine)
    return [Card(place, **found[place]) for place in dict.fromkeys(places) if place in found]


def _of_segment(
    connection: duckdb.DuckDBPyConnection, watch: Watch, segment: Segment, places: list[Place]
) -> dict[Place, dict[str, Any]]:
    if segment.ledger:
        return _rows(connection, watch, segment, places, f"{TEXTS}, {ENTRY}")
    if segment is not PLAN:
        return _rows(connection, watch, segment, places, f"{TEXTS}, score, 'published' as state")
    found = _rows(connection, watch, PLAN, places, TEXTS)
    for place, fate in _fates(connection, watch, places).items():
        found[place] |= fate
    return found


def _fates(connection: duckdb.DuckDBPyConnection, watch: Watch, places: list[Place]) -> dict[Place, dict[str, Any]]:
    """What became of planned pairs, as far as anything did."""
    found: dict[Place, dict[str, Any]] = {}
    for place, decision in _rows(connection, watch, DECISIONS, places, "key, score").items():
        found[place] = {**decision, "state": "published" if wholly_published(watch, place.shard) else "kept"}
    for segment in LOST_ON_THE_WAY:
        found |= _rows(connection, watch, segment, places, f"key, {ENTRY}")
    return found


def _rows(
    connection: duckdb.DuckDBPyConnection, watch: Watch, segment: Segment, places: Iterable[Place], columns: str
) -> dict[Place, dict[str, Any]]:
    """Columns that a segment has of the pairs at `places`, which may be of another segment with the same shards."""
    done = watch.run.committed(segment.stage)
    by_key = {place.key: place for place in places if place.shard in done}
    if not by_key:
        return {}
    files = sorted({segment.path(watch.run, place.shard) for place in by_key.values()})
    query = f"select {columns} from read_parquet($files) where key in (select unnest($keys))"
    answer = connection.execute(query, {"files": files, "keys": list(by_key)})
    names = [name for name, *_ in answer.description]
    rows = [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
    return {by_key[row.pop("key")]: row for row in rows}
