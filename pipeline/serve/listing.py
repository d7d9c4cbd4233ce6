"""Pages of the pair list: shards are searched block by block, until the page is full or its time is up.

So the first page of 200 million pairs costs as much as that of a thousand, and a rare word costs a visitor a few clicks on
"search on", never a query that nobody waits for.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from pipeline.serve.live_run import LiveRun
from pipeline.serve.search import BadSearch, Search
from pipeline.serve.segments import (
    LOSS_SEGMENTS,
    PLAN,
    PUBLISHED,
    SEGMENTS,
    Segment,
    published_shards,
    segments_of,
    wholly_published,
)

PAGE = 60
BUDGET = 2.5  # s that a page may search
BLOCK_SECONDS = 0.4  # what a block should take
MAX_SHARDS = 512  # of a block
MIN_KEY, MAX_KEY = "", "~"  # keys that are smaller and larger than every key
CURSOR = re.compile(rf"([a-z_]+)\.(\d{{6,}})\.([0-9a-f]{{32}}|{MAX_KEY}|)")
FIND = """
    select split_part(parse_filename(filename, true), '-', 1) as shard, key from read_parquet($files)
    where {condition} and {beyond} order by shard {order}, key {order} limit {limit}
"""
Part = tuple[str, dict[str, Any]]  # SQL, and the values bound in it, which are never written into the text
COUNT = "select count(*) from read_parquet($files) where {condition}"


@dataclass(frozen=True)
class Position:
    """A position in the list: a pair, or the edge of a shard."""

    segment: str
    shard: str
    key: str

    def __str__(self) -> str:
        return f"{self.segment}.{self.shard}.{self.key}"


@dataclass(frozen=True)
class ShardBlock:
    """Consecutive shards of a segment, searched by one query."""

    live_run: LiveRun
    segment: Segment
    shards: Sequence[str]

    @property
    def files(self) -> list[str]:
        """Paths of their Parquet files."""
        return [self.segment.path(self.live_run.run, shard) for shard in self.shards]

    @property
    def rows(self) -> int:
        """How many rows are in them."""
        manifests = self.live_run.run.committed(self.segment.stage)
        return sum(self.segment.rows(manifests[shard]) for shard in self.shards if shard in manifests)


@dataclass
class SearchResults:
    """The pairs of one page, and how far the search got."""

    positions: list[Position] = field(default_factory=list)
    more: bool = False  # there is at least one pair beyond
    stopped: Position | None = None  # where the search stopped because its time was up
    searched: int = 0  # rows of the shards that were searched


def read_position(text: str) -> Position | None:
    """Parse a position of an address; None for an empty text.

    Raises:
        BadSearch: the text is no position.
    """
    if not text:
        return None
    match = CURSOR.fullmatch(text)
    if match is None or match[1] not in SEGMENTS:
        raise BadSearch(f"{text!r} is no position in the list; begin at the first page.")
    return Position(*match.groups())


def find(
    connection: duckdb.DuckDBPyConnection,
    live_run: LiveRun,
    search: Search,
    start: Position | None = None,
    backward: bool = False,
    size: int = PAGE,
    budget: float = BUDGET,
) -> SearchResults:
    """Up to `size` pairs after `start` (before it, if `backward`), in the order of the list."""
    results, deadline = SearchResults(), time.monotonic() + budget
    for block, took in _blocks(live_run, search, start, backward):
        begun = time.monotonic()
        if begun > deadline:
            results.stopped = Position(block.segment.name, block.shards[0], MAX_KEY if backward else MIN_KEY)
            break
        results.positions += _find_in(connection, block, search, start, backward, size + 1 - len(results.positions))
        results.searched += block.rows
        if len(results.positions) > size:
            results.more = True
            del results.positions[size:]
            break
        took(time.monotonic() - begun)
    if backward:
        results.positions.reverse()
    return results


def count(
    connection: duckdb.DuckDBPyConnection, live_run: LiveRun, search: Search, budget: float = BUDGET
) -> tuple[int, bool]:
    """Count the pairs of a search; the second value is False where time was up and there may be more."""
    deadline, pairs = time.monotonic() + budget, 0
    for block, took in _blocks(live_run, search, None, backward=False):
        begun = time.monotonic()
        if begun > deadline:
            return pairs, False
        pairs += _count_in(connection, block, search)
        took(time.monotonic() - begun)
    return pairs, True


def rows_to_search(live_run: LiveRun, search: Search) -> int:
    """Rows of all shards that a search reads."""
    return sum(
        ShardBlock(live_run, segment, _shards(live_run, segment, search)).rows
        for segment in segments_of(live_run, search)
    )


@dataclass
class _Pace:
    """Number of shards in the next block, adapted so that a block takes about BLOCK_SECONDS."""

    shards: int

    def took(self, seconds: float) -> None:
        """Adapt to the time that the last block took."""
        factor = min(4.0, BLOCK_SECONDS / max(seconds, 0.001))
        self.shards = max(1, min(MAX_SHARDS, int(self.shards * factor)))


def _blocks(
    live_run: LiveRun, search: Search, start: Position | None, backward: bool
) -> Iterator[tuple[ShardBlock, Callable[[float], None]]]:
    """Blocks of shards in search order, each with a callback for the seconds that it took."""
    segments = segments_of(live_run, search)[:: -1 if backward else 1]
    names = [segment.name for segment in segments]
    for segment in segments[names.index(start.segment) if start and start.segment in names else 0 :]:
        shards = _shards(live_run, segment, search)[:: -1 if backward else 1]
        if start and start.segment == segment.name:
            shards = [shard for shard in shards if (shard <= start.shard if backward else shard >= start.shard)]
        pace, position = _Pace(segment.initial_shards if search.narrow else 1), 0
        while position < len(shards):
            block = ShardBlock(live_run, segment, shards[position : position + pace.shards])
            position += pace.shards
            yield block, pace.took


def _shards(live_run: LiveRun, segment: Segment, search: Search) -> list[str]:
    shards = list(live_run.run.committed(segment.stage))
    return [shard for shard in shards if not wholly_published(live_run, shard)] if search.waiting else shards


def _find_in(
    connection: duckdb.DuckDBPyConnection,
    block: ShardBlock,
    search: Search,
    start: Position | None,
    backward: bool,
    limit: int,
) -> list[Position]:
    text, values = _condition(block, search)
    beyond = "true"
    if start and start.segment == block.segment.name:
        sign = "<" if backward else ">"
        beyond = f"(shard <> $shard or key {sign} $key)"  # other shards of the block lie beyond it
        values |= {"shard": start.shard, "key": start.key}
    query = FIND.format(condition=text, beyond=beyond, order="desc" if backward else "asc", limit=limit)
    rows = connection.execute(query, {**values, "files": block.files}).fetchall()
    return [Position(block.segment.name, shard, key) for shard, key in rows]


def _count_in(connection: duckdb.DuckDBPyConnection, block: ShardBlock, search: Search) -> int:
    if not search.narrow and not search.waiting:
        return block.rows
    text, values = _condition(block, search)
    (pairs,) = connection.execute(COUNT.format(condition=text), {**values, "files": block.files}).fetchone()
    return int(pairs)


def _condition(block: ShardBlock, search: Search) -> Part:
    """The condition of a search as SQL, and its bound values."""
    texts, values = ["true"], dict[str, Any]()
    for text, part_values in _parts(block, search):
        texts.append(text)
        values |= part_values
    return " and ".join(texts), values


def _parts(block: ShardBlock, search: Search) -> Iterator[Part]:
    if block.segment.outcome:  # a stage may decide on several
        yield "outcome = $outcome", {"outcome": block.segment.outcome}
    for number, word in enumerate(search.words):
        if word.lower() == word.upper():  # nothing in it has case, as Chinese has none: the faster way
            yield f"contains(caption, $word{number})", {f"word{number}": word}
        else:
            yield f"regexp_matches(caption, $word{number}, 'i')", {f"word{number}": re.escape(word)}
    if search.source:
        yield "source = $source", {"source": search.source}
    if search.reason:
        yield "list_contains(reasons, $reason)", {"reason": search.reason}
    if search.domain:
        yield "regexp_matches(url, $host, 'i')", {"host": _host(search.domain)}
    if search.low is not None or search.high is not None:
        yield _score(block, search)
    if search.waiting and block.segment is PLAN:
        yield _waiting(block)


def _host(domain: str) -> str:
    """A regular expression for urls of a domain and its subdomains."""
    return rf"^https?://([^/?#@]*@)?([^/?#:]*\.)?{re.escape(domain)}([:/?#]|$)"


def _score(block: ShardBlock, search: Search) -> Part:
    asked = {"low": ("score >= $low::float", search.low), "high": ("score <= $high::float", search.high)}
    given = {name: (sql, limit) for name, (sql, limit) in asked.items() if limit is not None}
    limits = " and ".join(sql for sql, _ in given.values())
    values: dict[str, Any] = {name: limit for name, (_, limit) in given.items()}
    if block.segment.scored:
        return limits, values
    run = block.live_run.run
    files = [run.path("score", shard) for shard in block.shards if shard in run.committed("score")]
    if not files:
        return "false", {}
    return f"key in (select key from read_parquet($scores) where {limits})", {**values, "scores": files}


def _waiting(block: ShardBlock) -> Part:
    """Pairs that are neither dropped after the plan nor published."""
    run = block.live_run.run
    settled = [
        segment.path(run, shard)
        for segment in LOSS_SEGMENTS
        for shard in block.shards
        if shard in run.committed(segment.stage)
    ]
    published = {
        published_shard for shard in block.shards for published_shard in published_shards(block.live_run, shard)
    }
    settled += [PUBLISHED.path(run, shard) for shard in sorted(published)]
    if not settled:
        return "true", {}
    return "key not in (select key from read_parquet($settled, union_by_name = true))", {"settled": settled}
