"""Retry: pairs whose download failed for a reason that may have passed are fetched again; what was fetched stays.

A process killed at any moment leaves a run that the same command, or `zhclip curate`, continues.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass

from pipeline.recipe.download import REASONS
from pipeline.run.folder import Run
from pipeline.run.manifest import RunError
from pipeline.stages.download.resume import keep
from pipeline.stages.registry import STAGES

PASSING = re.compile(
    r"dns_failed|connect_failed|tls_failed|connection_lost|timeout|shard_deadline|downloader_died|lost_by_downloader|"
    r"http_(408|425|429|5\d\d)"
)
"""Reasons that may have passed by the next day: names, networks, servers and machines recover, a 404 seldom does."""


@dataclass(frozen=True)
class Retry:
    """What is to be fetched again."""

    shards: list[str]
    reasons: dict[str, int]  # reason → pairs of these shards, the most frequent first

    @property
    def pairs(self) -> int:
        """Pairs that will be asked for once more."""
        return sum(self.reasons.values())


def wanted(names: list[str]) -> Callable[[str], bool]:
    """Whether a reason is one of `names`, or, where there are none, `PASSING`.

    Raises:
        RunError: a name is no reason of the download.
    """
    for name in names:
        if name not in REASONS and not re.fullmatch(r"http_\d\d\d", name):
            raise RunError(f"{name!r} is no reason of the download: expected http_STATUS, {', '.join(REASONS)}")
    return set(names).__contains__ if names else lambda reason: bool(PASSING.fullmatch(reason))


def find(run: Run, names: list[str], above: float) -> Retry:
    """The shards of which more than a share of `above` of the pairs failed for a wanted reason. Reads manifests alone.

    Raises:
        RunError: see `wanted`.
    """
    counts = wanted(names)
    shards, reasons = [], Counter[str]()
    for manifest in run.manifests("download"):
        failed = {reason: count for reason, count in manifest.counts["reasons"].items() if counts(reason)}
        if sum(failed.values()) > above * manifest.counts["in"]:
            shards.append(manifest.shard)
            reasons.update(failed)
    return Retry(shards, dict(reasons.most_common()))


def prepare(run: Run, retry: Retry) -> None:
    """Takes back what was made of these shards, the last step first; only the process that drives the run may."""
    if not retry.shards:
        return
    after = list(STAGES.values())[list(STAGES).index("download") + 1 :]
    for stage in reversed([stage for stage in after if stage.covers_earlier]):
        run.discard(stage.name, shards=None if stage.cheap else set(retry.shards))
    for shard in retry.shards:
        keep(run, shard, set(retry.reasons))


def fetched(run: Run, shards: Container[str]) -> int:
    """Images of these shards that are there now."""
    return sum(manifest.counts["out"] for manifest in run.manifests("download") if manifest.shard in shards)
