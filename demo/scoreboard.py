"""What a run made of a world: of each planted kind, how many were caught and why; what became of the clean pairs."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from demo.faults import ALL_KINDS, CLEAN, LANGUAGE, SWAPPED
from pipeline.run.outcomes import OUT_OF_SCOPE
from pipeline.stages.registry import LEDGER_STAGES

Place = tuple[str, int]  # base name of the metadata file, and row
MAX_BLOCK = 1_000_000  # rows of a ledger entry that are looked at one by one


@dataclass(frozen=True)
class Entry:
    """What the ledger says about one row."""

    stage: str
    reasons: frozenset[str]
    score: float | None


@dataclass(frozen=True)
class Tally:
    """One planted kind."""

    kind: str
    stage: str  # expected to catch it
    planted: int
    caught: int  # rows that are in the ledger, whatever the reason
    as_expected: int  # of these, with an expected reason
    published: int  # rows that got through
    instead: tuple[str, ...]  # reasons given where no expected one was

    @property
    def lost(self) -> int:
        """Rows that are neither in the ledger nor published; never anything but 0 in a sound run."""
        return self.planted - self.caught - self.published


@dataclass(frozen=True)
class Scoreboard:
    """The result of `scoreboard`."""

    faults: tuple[Tally, ...]
    clean: Tally
    clean_dropped: dict[str, int]  # stage → clean pairs that it dropped
    clean_reasons: dict[str, int] = field(default_factory=dict)  # reason → clean pairs dropped for it
    auc: float = math.nan  # area under the ROC curve of true against swapped captions; NaN where nothing was scored

    def tally(self, kind: str) -> Tally:
        """The tally of one kind; KeyError where none was planted."""
        return {tally.kind: tally for tally in (*self.faults, self.clean)}[kind]

    def to_table(self) -> pa.Table:
        """One row a kind, "clean" last: kind, stage, planted, caught, as_expected, published, lost, instead."""
        names = ("kind", "stage", "planted", "caught", "as_expected", "published", "lost")
        rows = [
            {name: getattr(tally, name) for name in names} | {"instead": list(tally.instead)}
            for tally in (*self.faults, self.clean)
        ]
        return pa.Table.from_pylist(rows)

    def render(self) -> RenderableType:
        """Tables and figures for a rich console."""
        return Group(_fault_table(self.faults), _clean_lines(self))


def scoreboard(truth: pa.Table, ledger: pa.Table, published: pa.Table) -> Scoreboard:
    """Compares a run with the truth, row by row.

    Args:
        truth: columns of demo.world.TRUTH_SCHEMA.
        ledger: columns file, row, rows, stage, reasons (list of strings), and score where there is one.
        published: columns file, row, score.
    Files are compared by their base names. An entry with `rows` above 1 stands for that many rows from `row` on.
    """
    dropped = dict(_entries(ledger.to_pylist())) | dict(_out_of_scope(truth.to_pylist(), ledger.to_pylist()))
    kept = {_place(row): row["score"] for row in published.to_pylist()}
    by_kind: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in truth.to_pylist():
        by_kind[row["fault"]].append(row)
    tallies = [_tally(kind.name, kind.stage, by_kind[kind.name], dropped, kept) for kind in ALL_KINDS]
    clean = [dropped[_place(row)] for row in by_kind[CLEAN.name] if _place(row) in dropped]
    scores = kept | {location: entry.score for location, entry in dropped.items() if entry.score is not None}
    return Scoreboard(
        faults=tuple(tally for tally in tallies if tally.planted and tally.kind != CLEAN.name),
        clean=next(tally for tally in tallies if tally.kind == CLEAN.name),
        clean_dropped=dict(Counter(entry.stage for entry in clean)),
        clean_reasons=dict(Counter(reason for entry in clean for reason in entry.reasons).most_common()),
        auc=roc_auc(_scores(by_kind[CLEAN.name], scores), _scores(by_kind[SWAPPED.name], scores)),
    )


def roc_auc(true: np.ndarray, wrong: np.ndarray) -> float:
    """The chance that a true pair scores above a wrong one, ties counting half; NaN where either is empty."""
    if not len(true) or not len(wrong):
        return math.nan
    ordered = np.sort(wrong)
    below = np.searchsorted(ordered, true, "left") + np.searchsorted(ordered, true, "right")
    return float(below.mean() / 2 / len(wrong))


def _out_of_scope(truth: list[dict[str, Any]], ledger: list[dict[str, Any]]) -> Iterable[tuple[Place, Entry]]:
    """Rows of other languages: the ledger only counts them, file by file, so the planted ones are ticked off that count."""
    counted = Counter[str]()
    for row in ledger:
        counted[_place(row)[0]] += row["rows"] if row["outcome"] == OUT_OF_SCOPE else 0
    for row in truth:
        if row["fault"] == LANGUAGE.name and counted[row["file"]] > 0:
            counted[row["file"]] -= 1
            yield _place(row), Entry("read", frozenset(["language"]), None)


def _entries(rows: Iterable[dict[str, Any]]) -> Iterable[tuple[Place, Entry]]:
    for row in rows:
        if row["outcome"] == OUT_OF_SCOPE:
            continue
        entry = Entry(row["stage"], frozenset(row["reasons"]), row.get("score"))
        name, first = _place(row)
        for position in range(first, first + min(max(row["rows"] or 1, 1), MAX_BLOCK)):
            yield (name, position), entry


def _place(row: dict[str, Any]) -> Place:
    return PurePosixPath(row["file"]).name, row["row"]


def _tally(
    kind: str, stage: str, rows: list[dict[str, Any]], dropped: dict[Place, Entry], kept: dict[Place, float]
) -> Tally:
    caught = [(set(row["reasons"]), dropped[_place(row)].reasons) for row in rows if _place(row) in dropped]
    others = Counter(reason for wanted, given in caught if not wanted & given for reason in given)
    return Tally(
        kind=kind,
        stage=stage,
        planted=len(rows),
        caught=len(caught),
        as_expected=sum(bool(wanted & given) for wanted, given in caught),
        published=sum(_place(row) in kept for row in rows),
        instead=tuple(reason for reason, _ in others.most_common()),
    )


def _scores(rows: list[dict[str, Any]], scores: dict[Place, float]) -> np.ndarray:
    known = [scores.get(_place(row)) for row in rows]
    return np.array([score for score in known if score is not None], dtype=np.float64)


def _fault_table(tallies: tuple[Tally, ...]) -> Table:
    """80 characters wide, unless something was lost or caught for another reason than expected."""
    table = Table(title="Planted faults", title_justify="left", title_style="bold", header_style="bold")
    table.add_column("kind", no_wrap=True)
    table.add_column("stage", no_wrap=True)
    numbers = {
        "planted": "planted",
        "caught": "caught",
        "as expected": "as_expected",
        "through": "published",
        "lost": "lost",
    }
    if not any(tally.lost for tally in tallies):
        del numbers["lost"]
    for name in numbers:
        table.add_column(name, justify="right")
    explained = any(tally.instead for tally in tallies)
    if explained:
        table.add_column("instead")
    ordered = sorted(tallies, key=lambda tally: LEDGER_STAGES.index(tally.stage))
    for tally, after in zip(ordered, [*ordered[1:], None], strict=True):
        style = "green" if tally.as_expected == tally.planted else "yellow" if tally.caught == tally.planted else "red"
        cells = [str(getattr(tally, name) or "–") for name in numbers.values()] + [", ".join(tally.instead)] * explained
        ends = after is not None and after.stage != tally.stage
        table.add_row(tally.kind, tally.stage, *cells, style=style, end_section=ends)
    return table


def _clean_lines(board: Scoreboard) -> Text:
    clean = board.clean
    share = clean.published / clean.planted if clean.planted else math.nan
    by_stage = ", ".join(f"{stage} {count}" for stage, count in board.clean_dropped.items()) or "none"
    text = Text()
    text.append(f"Clean pairs: {clean.published} of {clean.planted} kept ({share:.1%}); wrongly dropped: {by_stage}\n")
    text.append(f"Swapped captions against true ones: area under the ROC curve {board.auc:.3f}")
    return text
