"""What the manifests of a stage say, added up."""

from __future__ import annotations

from collections import Counter

from pipeline.run.folder import Run


def stage_counts(run: Run, stage: str) -> dict[str, Counter[str]]:
    """source → name → rows, over all manifests of a stage: in, out, and what was lost under its ledger outcome."""
    totals: dict[str, Counter[str]] = {}
    for manifest in run.manifests(stage):
        for source, counts in manifest.counts.get("sources", {}).items():
            totals.setdefault(source, Counter()).update(counts)
    return totals
