"""A search as SQL on the rows of some shards of a segment. Values are bound, never written into the text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.serve.search import Search
from pipeline.serve.segments import LOST_ON_THE_WAY, PLAN, PUBLISHED, Segment, published_shards
from pipeline.serve.watched import Watch

Part = tuple[str, dict[str, Any]]  # SQL, and the values in it


@dataclass(frozen=True)
class Block:
    """Some shards of a segment of a run."""

    watch: Watch
    segment: Segment
    shards: Sequence[str]

    @property
    def files(self) -> list[str]:
        """Paths of their Parquet files."""
        return [self.segment.path(self.watch.run, shard) for shard in self.shards]

    @property
    def rows(self) -> int:
        """How many rows are in them."""
        manifests = self.watch.run.committed(self.segment.stage)
        return sum(self.segment.rows(manifests[shard]) for shard in self.shards if shard in manifests)


def condition(block: Block, search: Search) -> Part:
    """What follows `where`, and the values in it."""
    texts, values = ["true"], dict[str, Any]()
    for text, found in _parts(block, search):
        texts.append(text)
        values |= found
    return " and ".join(texts), values


def _parts(block: Block, search: Search) -> Iterator[Part]:
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
    if search.where == "waiting" and block.segment is PLAN:
        yield _waiting(block)


def _host(domain: str) -> str:
    """A pattern for urls of a domain and of those below it."""
    return rf"^https?://([^/?#@]*@)?([^/?#:]*\.)?{re.escape(domain)}([:/?#]|$)"


def _score(block: Block, search: Search) -> Part:
    asked = {"low": ("score >= $low::float", search.low), "high": ("score <= $high::float", search.high)}
    given = {name: (sql, limit) for name, (sql, limit) in asked.items() if limit is not None}
    limits = " and ".join(sql for sql, _ in given.values())
    values: dict[str, Any] = {name: limit for name, (_, limit) in given.items()}
    if block.segment.scored:
        return limits, values
    run = block.watch.run
    files = [str(run.path("score", f"{shard}.parquet")) for shard in block.shards if shard in run.committed("score")]
    if not files:
        return "false", {}
    return f"key in (select key from read_parquet($scores) where {limits})", {**values, "scores": files}


def _waiting(block: Block) -> Part:
    """Neither dropped since the plan, nor published."""
    run = block.watch.run
    gone = [
        one.path(run, shard) for one in LOST_ON_THE_WAY for shard in block.shards if shard in run.committed(one.stage)
    ]
    published = {one for shard in block.shards for one in published_shards(block.watch, shard)}
    gone += [PUBLISHED.path(run, shard) for shard in sorted(published)]
    if not gone:
        return "true", {}
    return "key not in (select key from read_parquet($gone, union_by_name = true))", {"gone": gone}
