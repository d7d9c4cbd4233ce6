"""A page of pairs: shards are searched one block after the other, until the page is full or its time is over.

So the first page of 200 million pairs costs as much as that of a thousand, and a rare word costs a visitor a few clicks on
"search on", never a query that nobody waits for.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import duckdb

from pipeline.serve.conditions import Block, condition
from pipeline.serve.search import BadSearch, Search
from pipeline.serve.segments import SEGMENTS, Segment, segments_of, wholly_published
from pipeline.serve.watched import Watch

PAGE = 60
BUDGET = 2.5  # s that a page may search
BLOCK_SECONDS = 0.4  # what a block should take
MOST_SHARDS = 512  # of a block
BEFORE_ALL, AFTER_ALL = "", "~"  # keys that are smaller and larger than every key
CURSOR = re.compile(rf"([a-z_]+)\.(\d{{6,}})\.([0-9a-f]{{32}}|{AFTER_ALL}|)")
FIND = """
    select parse_filename(filename, true) as shard, key from read_parquet($files)
    where {condition} and {beyond} order by shard {order}, key {order} limit {limit}
"""
COUNT = "select count(*) from read_parquet($files) where {condition}"


@dataclass(frozen=True)
class Place:
    """A pair in the order of the list, or the edge of a shard."""

    segment: str
    shard: str
    key: str

    def __str__(self) -> str:
        return f"{self.segment}.{self.shard}.{self.key}"


@dataclass
class Found:
    """What a search came to."""

    places: list[Place] = field(default_factory=list)
    more: bool = False  # there is at least one pair beyond
    stopped: Place | None = None  # where time was over
    searched: int = 0  # rows of the shards that were searched


def read_place(text: str) -> Place | None:
    """A place as it stands in an address; None for an empty text.

    Raises:
        BadSearch: it is none.
    """
    if not text:
        return None
    found = CURSOR.fullmatch(text)
    if found is None or found[1] not in SEGMENTS:
        raise BadSearch(f"{text!r} is no place in the list; begin at the first page.")
    return Place(*found.groups())


def find(
    connection: duckdb.DuckDBPyConnection,
    watch: Watch,
    search: Search,
    start: Place | None = None,
    backward: bool = False,
    size: int = PAGE,
    budget: float = BUDGET,
) -> Found:
    """Up to `size` pairs after `start` (before it, if `backward`), in the order of the list."""
    found, deadline = Found(), time.monotonic() + budget
    for block, took in _blocks(watch, search, start, backward):
        begun = time.monotonic()
        if begun > deadline:
            found.stopped = Place(block.segment.name, block.shards[0], AFTER_ALL if backward else BEFORE_ALL)
            break
        found.places += _find_in(connection, block, search, start, backward, size + 1 - len(found.places))
        found.searched += block.rows
        if len(found.places) > size:
            found.more = True
            del found.places[size:]
            break
        took(time.monotonic() - begun)
    if backward:
        found.places.reverse()
    return found


def count(
    connection: duckdb.DuckDBPyConnection, watch: Watch, search: Search, budget: float = BUDGET
) -> tuple[int, bool]:
    """How many pairs there are, and whether that is all; False where time was over and there may be more."""
    deadline, pairs = time.monotonic() + budget, 0
    for block, took in _blocks(watch, search, None, backward=False):
        begun = time.monotonic()
        if begun > deadline:
            return pairs, False
        pairs += _count_in(connection, block, search)
        took(time.monotonic() - begun)
    return pairs, True


def rows_to_search(watch: Watch, search: Search) -> int:
    """Rows of all shards in which a search looks: all pairs of its place where it asks for nothing more."""
    return sum(Block(watch, one, _shards(watch, one, search)).rows for one in segments_of(watch, search))


@dataclass
class _Pace:
    """How many shards to search at a time, so that a block takes about BLOCK_SECONDS."""

    shards: int

    def took(self, seconds: float) -> None:
        """Told after each block."""
        factor = min(4.0, BLOCK_SECONDS / max(seconds, 0.001))
        self.shards = max(1, min(MOST_SHARDS, int(self.shards * factor)))


def _blocks(
    watch: Watch, search: Search, start: Place | None, backward: bool
) -> Iterator[tuple[Block, Callable[[float], None]]]:
    """Blocks of shards in the order of the walk, each with whom to tell how many seconds it took."""
    segments = segments_of(watch, search)[:: -1 if backward else 1]
    names = [one.name for one in segments]
    for segment in segments[names.index(start.segment) if start and start.segment in names else 0 :]:
        shards = _shards(watch, segment, search)[:: -1 if backward else 1]
        if start and start.segment == segment.name:
            shards = [one for one in shards if (one <= start.shard if backward else one >= start.shard)]
        pace, position = _Pace(segment.first_look if search.narrow else 1), 0
        while position < len(shards):
            block = Block(watch, segment, shards[position : position + pace.shards])
            position += pace.shards
            yield block, pace.took


def _shards(watch: Watch, segment: Segment, search: Search) -> list[str]:
    found = list(watch.run.committed(segment.stage))
    return [one for one in found if not wholly_published(watch, one)] if search.where == "waiting" else found


def _find_in(
    connection: duckdb.DuckDBPyConnection, block: Block, search: Search, start: Place | None, backward: bool, limit: int
) -> list[Place]:
    text, values = condition(block, search)
    beyond = "true"
    if start and start.segment == block.segment.name:
        sign = "<" if backward else ">"
        beyond = f"(shard <> $shard or key {sign} $key)"  # other shards of the block lie beyond it
        values |= {"shard": start.shard, "key": start.key}
    query = FIND.format(condition=text, beyond=beyond, order="desc" if backward else "asc", limit=limit)
    rows = connection.execute(query, {**values, "files": block.files}).fetchall()
    return [Place(block.segment.name, shard, key) for shard, key in rows]


def _count_in(connection: duckdb.DuckDBPyConnection, block: Block, search: Search) -> int:
    if not search.narrow and search.where != "waiting":
        return block.rows
    text, values = condition(block, search)
    (found,) = connection.execute(COUNT.format(condition=text), {**values, "files": block.files}).fetchone()
    return int(found)
