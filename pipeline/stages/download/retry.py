"""Retry: pairs whose download failed for a reason that may have passed are fetched again; what was fetched stays.

A shard that is to be fetched again is no longer done, and leaves two files in raw/.kept: SHARD.tar, its images, and
SHARD.parquet, the outcomes that stay. The download step then asks for the other pairs alone and puts the new images behind
the old ones. A process killed at any moment leaves a run that the same command, or `zhclip curate`, continues.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.recipe.download import REASONS
from pipeline.run.folder import CHEAP_STEPS, Run, RunError
from pipeline.run.tar import BLOCK
from pipeline.stages.download.writer import write_table

PASSING = re.compile(
    r"dns_failed|connect_failed|tls_failed|connection_lost|timeout|lost_by_downloader|http_(408|425|429|5\d\d)"
)
"""Reasons that may have passed by the next day: names, networks and servers recover, a 404 seldom does."""


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
    counts_it = wanted(names)
    shards, reasons = [], Counter[str]()
    for found in run.manifests("download"):
        failed = {reason: count for reason, count in found.counts["reasons"].items() if counts_it(reason)}
        if sum(failed.values()) > above * found.counts["in"]:
            shards.append(found.shard)
            reasons.update(failed)
    return Retry(shards, dict(reasons.most_common()))


def prepare(run: Run, found: Retry) -> None:
    """Takes back what was made of these shards, the last step first; only the process that drives the run may."""
    if not found.shards:
        return
    for step in reversed(CHEAP_STEPS):
        if step != "test_images":
            run.discard(step)
    for shard in found.shards:
        _keep(run, shard, set(found.reasons))
    run.discard("score", shards=set(found.shards))
    run.discard("download", shards=set(found.shards))


def fetched(run: Run, shards: Container[str]) -> int:
    """Images of these shards that are there now."""
    return sum(found.counts["out"] for found in run.manifests("download") if found.shard in shards)


def kept(run: Run, shard: str) -> pa.Table | None:
    """The outcomes of a shard that stay, with OUTCOME_SCHEMA; None where it is fetched for the first time."""
    path = _place(run, shard, "parquet")
    return pq.read_table(path) if path.exists() else None


def join(run: Run, shard: str, before: pa.Table, now: pa.Table, images: Path) -> pa.Table:
    """Puts the images of the try before in front of those in the tar `images`; returns the outcomes of both, `now` last."""
    ends = pc.max(pc.add(before["offset"], before["length"])).as_py() or 0
    ends += -ends % BLOCK
    both = images.with_suffix(".joined")
    shutil.copyfile(_place(run, shard, "tar"), both)
    with both.open("r+b") as file, images.open("rb") as new:
        file.truncate(ends)
        file.seek(ends)
        shutil.copyfileobj(new, file)
    both.replace(images)
    moved = now.set_column(
        now.schema.get_field_index("offset"), now.schema.field("offset"), pc.add(now["offset"], ends)
    )
    return pa.concat_tables([before, moved])


def forget(run: Run, shard: str) -> None:
    """Removes what was kept, when the shard is done."""
    for ending in ("parquet", "tar"):
        _place(run, shard, ending).unlink(missing_ok=True)


def _keep(run: Run, shard: str, reasons: set[str]) -> None:
    """The outcomes last: without them the images do not count."""
    forget(run, shard)
    images, outcomes = _place(run, shard, "tar"), _place(run, shard, "parquet")
    images.parent.mkdir(exist_ok=True)
    try:
        os.link(run.path("download", f"{shard}.tar"), images)
    except OSError:  # a file system without links
        shutil.copyfile(run.path("download", f"{shard}.tar"), images)
    table = pq.read_table(run.path("download", f"{shard}.parquet"))
    again = pc.is_in(table["reason"], pa.array(sorted(reasons), pa.string()))
    write_table(table.filter(pc.invert(again)), outcomes.with_suffix(".writing"))
    outcomes.with_suffix(".writing").replace(outcomes)


def _place(run: Run, shard: str, ending: str) -> Path:
    return run.path("download", f".kept/{shard}.{ending}")
