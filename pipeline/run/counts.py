"""What the manifests say, added up: rows per source and step, and whether they balance."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from pipeline.run.folder import Run, Step

SourceCounts = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Balance:
    """Rows of one source: `read` must equal the sum of all that follows once a run is complete."""

    source: str
    read: int
    out_of_scope: int
    unreadable: int
    rejected_by_rules: int
    failed_download: int
    failed_score: int
    rejected_by_score: int
    published: int
    unknown: int  # blocks of which nobody can tell how many rows they held

    @property
    def missing(self) -> int:
        """Rows that went in and came out nowhere: 0, always, once a run is complete."""
        rest = self.out_of_scope + self.unreadable + self.rejected_by_rules + self.failed_download
        return self.read - rest - self.failed_score - self.rejected_by_score - self.published


def step_counts(run: Run, step: Step) -> SourceCounts:
    """source → name → rows, over all manifests of a step."""
    totals: SourceCounts = defaultdict(lambda: defaultdict(int))
    for manifest in run.manifests(step):
        if step == "read":
            source = manifest.counts["source"]
            for name, rows in manifest.counts.items():
                if name != "source":
                    totals[source][name] += rows
            continue
        for source, found in manifest.counts["sources"].items():
            for name, rows in found.items() if isinstance(found, dict) else (("out", found),):
                totals[source][name] += rows
    return totals


def balances(run: Run) -> list[Balance]:
    """One balance per source of the recipe, from the manifests alone."""
    by_step: dict[Step, SourceCounts] = {
        step: step_counts(run, step) for step in ("read", "judge", "download", "score", "select", "publish")
    }

    def rows(step: Step, source: str, name: str) -> int:
        return by_step[step].get(source, {}).get(name, 0)

    return [
        Balance(
            source=name,
            read=rows("read", name, "read"),
            out_of_scope=rows("read", name, "out_of_scope"),
            unreadable=rows("read", name, "failed"),
            rejected_by_rules=rows("judge", name, "rejected"),
            failed_download=rows("download", name, "failed"),
            failed_score=rows("score", name, "failed"),
            rejected_by_score=rows("select", name, "rejected"),
            published=rows("publish", name, "out"),
            unknown=rows("read", name, "unknown"),
        )
        for name in run.recipe.sources
    ]


def rows_of(counts: dict[str, object]) -> tuple[int, int]:
    """Rows in and out of a manifest's counts."""
    if "read" in counts:
        return int(counts["read"]), int(counts["out"])  # type: ignore[call-overload]
    if "out" in counts:
        return int(counts.get("in", counts["out"])), int(counts["out"])  # type: ignore[call-overload]
    sources = counts["sources"].values()  # type: ignore[attr-defined]
    return sum(one["in"] for one in sources), sum(one["out"] for one in sources)
