"""Words of captions: which the kept ones use more than the dropped ones, and which blacklist entries hit."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

from filters.blacklist import Blacklist
from pipeline.inspect.report.query import KeyRange, rows
from pipeline.run.folder import Run

SAMPLE = 20_000  # captions of either side
BLACKLISTED = 20_000  # captions
HAN = r"\p{Han}"


@dataclass(frozen=True)
class Word:
    """A word, and in what share of either side's captions it stands."""

    text: str
    kept: float
    dropped: float


@dataclass(frozen=True)
class Words:
    """Words of a sample of captions."""

    kept: int  # captions looked at
    dropped: int
    more_in_kept: list[Word]
    more_in_dropped: list[Word]
    han_kept: float  # mean share of Han characters
    han_dropped: float


@dataclass(frozen=True)
class Hit:
    """A blacklist entry, how many of the captions looked at hold it, and one of them."""

    category: str
    entry: str
    captions: int
    example: str


def words(connection: duckdb.DuckDBPyConnection, seed: int, shown: int = 15) -> Words:
    """Compares a sample of published captions with one of dropped captions."""
    kept = _sample(connection, "pairs", "true", seed)
    dropped = _sample(connection, "rejected", "caption is not null and key is not null", seed)
    of_kept, of_dropped = _shares(kept), _shares(dropped)
    common = [Word(text, of_kept.get(text, 0.0), of_dropped.get(text, 0.0)) for text in {**of_kept, **of_dropped}]
    enough = [word for word in common if word.kept * len(kept) + word.dropped * len(dropped) >= 4]
    ordered = sorted(enough, key=lambda word: (-_lean(word), word.text))
    return Words(
        len(kept),
        len(dropped),
        [word for word in ordered[:shown] if _lean(word) > 0],
        [word for word in ordered[: -shown - 1 : -1] if _lean(word) < 0],
        _han_share(connection, kept),
        _han_share(connection, dropped),
    )


def blacklist_hits(run: Run, connection: duckdb.DuckDBPyConnection, seed: int) -> tuple[int, list[Hit]]:
    """How many blacklisted captions were looked at, and the entries found in them, the most frequent first."""
    rejected = rows(
        connection,
        "select source, caption from rejected where array_to_string(reasons, ' ') like '%blacklist\\_%' escape '\\' "
        "and key is not null order by md5(key || $seed), row limit $limit",
        seed=str(seed),
        limit=BLACKLISTED,
    )
    hits: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    for source in sorted({row["source"] for row in rejected}):
        captions = [row["caption"] for row in rejected if row["source"] == source]
        for hit, positions in (run.recipe.sources[source].rules.blacklist or Blacklist()).hits(captions).items():
            hits[hit] += len(positions)
            examples.setdefault(hit, captions[positions[0]])
    ordered = sorted(hits.items(), key=lambda item: (-item[1], item[0]))
    return len(rejected), [Hit(*hit, count, examples[hit]) for hit, count in ordered]


def _sample(connection: duckdb.DuckDBPyConnection, view: str, condition: str, seed: int) -> list[str]:
    among = rows(connection, f"select count(*) as pairs from {view} where {condition}")[0]["pairs"]
    part = KeyRange.holding(SAMPLE, among, seed)
    sample = rows(connection, f"select caption from {view} where {condition} and {part.sql} order by key, caption")
    return [row["caption"] for row in sample]


def _shares(captions: Iterable[str]) -> dict[str, float]:
    """word → share of the captions that have it; words of two characters or more, as single ones say little."""
    import jieba

    jieba.setLogLevel(logging.WARNING)
    counted: Counter[str] = Counter()
    total = 0
    for caption in captions:
        counted.update({word for word in jieba.cut(caption[:500]) if len(word) > 1 and word.isalnum()})
        total += 1
    return {word: count / total for word, count in counted.items()}


def _lean(word: Word) -> float:
    """Larger the more a word belongs to the kept side: the difference of shares, damped for words that are everywhere."""
    return (word.kept - word.dropped) / math.sqrt(word.kept + word.dropped)


def _han_share(connection: duckdb.DuckDBPyConnection, captions: list[str]) -> float:
    if not captions:
        return math.nan
    query = f"""
        select avg((length(caption) - length(regexp_replace(caption, '{HAN}', '', 'g'))) / greatest(length(caption), 1)) as share
        from (select unnest($captions) as caption)
    """
    return float(rows(connection, query, captions=captions)[0]["share"])
