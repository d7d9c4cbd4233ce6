"""Picks the pairs for a run's contact sheet."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from demo.contact_sheet import Card

SHOWN = 24  # cards of either section: three rows


def cards(
    truth: pa.Table, ledger: pa.Table, published: pa.Table, web: Path, shown: int = SHOWN, seed: int = 0
) -> tuple[list[Card], list[Card]]:
    """Kept and dropped cards, at most `shown` of each: kept ones at random, dropped ones of as many reasons as fit.

    Pictures are what the server of `web` had to offer, so that dropped pairs have one too; one dropped card in six is
    of a pair without any. Rows that nobody could read and rows of other languages are not shown. Arguments as for
    `demo.scoreboard.scoreboard`.
    """
    rng = random.Random(seed)
    images = Images(web)
    planted = {(row["file"], row["row"]): row["fault"] for row in truth.to_pylist()}
    kept = [Card(images.of(row["url"]), row["caption"], row["score"]) for row in _some(published, shown, rng)]
    rows = [row for row in ledger.to_pylist() if row["stage"] != "read" and row["caption"]]
    rng.shuffle(rows)
    bare = [row for row in rows if images.of(row["url"]) is None]
    chosen = _varied(bare, planted, shown // 6)
    chosen += _varied([row for row in rows if row not in bare], planted, shown - len(chosen))
    chosen.sort(key=lambda row: (row["stage"], row["reasons"]))
    return kept, [Card(images.of(row["url"]), row["caption"], row.get("score"), row["reasons"][0]) for row in chosen]


class Images:
    """The image files behind a world's urls."""

    def __init__(self, web: Path) -> None:
        self._web = web
        self._routes = json.loads((web / "routes.json").read_text(encoding="utf-8"))

    def of(self, url: str | None) -> bytes | None:
        """The bytes behind a url, a redirect followed; None where there is no file."""
        path = _path(url)
        route = self._routes.get(path, {})
        if _path(route.get("to")) != path and "to" in route:
            return self.of(route["to"])
        return (self._web / route["file"]).read_bytes() if "file" in route else None


def _path(url: str | None) -> str:
    try:
        return urlsplit(url or "").path
    except ValueError:
        return ""


def _some(table: pa.Table, count: int, rng: random.Random) -> list[dict[str, Any]]:
    rows = sorted(rng.sample(range(table.num_rows), min(count, table.num_rows)))
    return table.take(pa.array(rows, pa.int64())).to_pylist()


def _varied(rows: list[dict[str, Any]], planted: dict[tuple[str, int], str], count: int) -> list[dict[str, Any]]:
    """One row of each planted kind in turn until `count` are found; swapped captions, the hardest, every fourth time."""
    by_kind: dict[str, Iterator[dict[str, Any]]] = {}
    for kind in dict.fromkeys(_kind(row, planted) for row in rows):
        by_kind[kind] = iter([row for row in rows if _kind(row, planted) == kind])
    chosen: list[dict[str, Any]] = []
    order = [kind for kind in by_kind if kind not in ("clean", "swapped caption")]
    turn = [kind for i, other in enumerate(order) for kind in (["swapped caption", other] if i % 3 == 0 else [other])]
    for kind in turn * count:
        if len(chosen) == count:
            break
        if (row := next(by_kind.get(kind, iter(())), None)) is not None:
            chosen.append(row)
    return chosen


def _kind(row: dict[str, Any], planted: dict[tuple[str, int], str]) -> str:
    return planted.get((PurePosixPath(row["file"]).name, row["row"]), "clean")
