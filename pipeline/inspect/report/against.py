"""Two runs side by side: every figure that both have, and what changed most."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.inspect.report.figures import OUTCOME_LABELS, Figures


@dataclass(frozen=True)
class Change:
    """A figure of both runs: a share of the rows read (or scored), or a plain number where `whole` is None."""

    group: str
    name: str
    here: float | None
    there: float | None
    is_share: bool

    @property
    def points(self) -> float:
        """Difference in percentage points, which orders the changes; 0 for figures that are no share."""
        return 100 * ((self.here or 0) - (self.there or 0)) if self.is_share else 0.0


def changes(here: Figures, there: Figures) -> list[Change]:
    """All figures of either run, shares first, the largest difference in percentage points on top."""
    mine, theirs = dict(_figures(here)), dict(_figures(there))
    names = list(dict.fromkeys([*mine, *theirs]))
    found = [
        Change(group, name, mine.get((group, name, kind)), theirs.get((group, name, kind)), kind == "share")
        for group, name, kind in names
    ]
    return sorted(found, key=lambda one: (not one.is_share, -abs(one.points)))


def _figures(found: Figures) -> list[tuple[tuple[str, str, str], float]]:
    """(group, name, share or number) → value."""
    made: list[tuple[tuple[str, str, str], float]] = [
        (("all", "rows read", "number"), found.read),
        (("all", "pairs published", "number"), found.published),
    ]
    for row in found["funnel"]:
        whole = max(1, row["read"])
        made.append(((row["source"], "rows read", "number"), row["read"]))
        made += [((row["source"], title, "share"), row[name] / whole) for name, title in OUTCOME_LABELS.items()]
    read = {row["source"]: row["read"] for row in found["funnel"]}
    made += [
        ((row["source"], row["reason"], "share"), row["pairs"] / max(1, read.get(row["source"], 0)))
        for row in found["reasons"]
    ]
    for source, bins in found.scored.items():
        total = sum(row["pairs"] for row in bins)
        made += [
            ((source, f"score at least {at:.2f}, of scored", "share"), found.passing(source, at))
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
        for row in found["throughput"]
        if row["worker_seconds"]
    ]
    return made
