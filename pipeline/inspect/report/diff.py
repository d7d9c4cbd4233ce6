"""The differences between two runs: every figure of either, the largest change first."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.inspect.report.figures import OUTCOME_LABELS, Figures


@dataclass(frozen=True)
class Change:
    """A figure of both runs: a share of the rows read (or scored), or a plain number."""

    group: str
    name: str
    here: float | None
    there: float | None
    is_share: bool

    @property
    def points(self) -> float:
        """Difference in percentage points; 0 for figures that are not shares."""
        return 100 * ((self.here or 0) - (self.there or 0)) if self.is_share else 0.0


def changes(here: Figures, there: Figures) -> list[Change]:
    """The figures of both runs, shares first, by difference in percentage points."""
    here_figures, there_figures = dict(_figures(here)), dict(_figures(there))
    names = list(dict.fromkeys([*here_figures, *there_figures]))
    changed = [
        Change(
            group, name, here_figures.get((group, name, kind)), there_figures.get((group, name, kind)), kind == "share"
        )
        for group, name, kind in names
    ]
    return sorted(changed, key=lambda change: (not change.is_share, -abs(change.points)))


def _figures(figures: Figures) -> list[tuple[tuple[str, str, str], float]]:
    """(group, name, share or number) → value."""
    made: list[tuple[tuple[str, str, str], float]] = [
        (("all", "rows read", "number"), figures.read),
        (("all", "pairs published", "number"), figures.published),
    ]
    for row in figures["funnel"]:
        rows_read = max(1, row["read"])
        made.append(((row["source"], "rows read", "number"), row["read"]))
        made += [((row["source"], title, "share"), row[name] / rows_read) for name, title in OUTCOME_LABELS.items()]
    read = {row["source"]: row["read"] for row in figures["funnel"]}
    made += [
        ((row["source"], row["reason"], "share"), row["pairs"] / max(1, read.get(row["source"], 0)))
        for row in figures["reasons"]
    ]
    for source, bins in figures.scored.items():
        total = sum(row["pairs"] for row in bins)
        made += [
            ((source, f"score at least {at:.2f}, of scored", "share"), figures.passing(source, at))
            for at in (0.2, 0.26, 0.3)
        ]
        made.append(
            (
                (source, "mean score, to 0.01", "number"),
                sum((row["bin"] + 0.5) * row["pairs"] for row in bins) / total / 100,
            )
        )
    made += [
        ((row["stage"], "worker-seconds", "number"), row["worker_seconds"])
        for row in figures["throughput"]
        if row["worker_seconds"]
    ]
    return made
