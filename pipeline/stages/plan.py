"""Plan: the kept pairs in key order, divided into shards."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from foundation.pairs import PAIR_SCHEMA
from pipeline.recipe import Recipe
from pipeline.run.attempt import Attempt, begin_attempt
from pipeline.run.folder import Item, Run
from pipeline.run.ledger import tally
from pipeline.run.parquet import write_parquet
from pipeline.stages.base import Stage, View
from pipeline.stages.layout import read_layout
from pipeline.stages.read.buckets import read_bucket


@dataclass(frozen=True)
class KeyRange:
    """One of the equal parts of the key space that holds pairs."""

    number: int
    first_shard: int
    ends: tuple[int, ...]  # 0, then the number of pairs up to the end of each of its shards

    @property
    def shards(self) -> list[str]:
        """Names of the shards that this range is cut into."""
        return [f"{self.first_shard + i:06d}" for i in range(len(self.ends) - 1)]


def key_ranges(run: Run) -> list[KeyRange]:
    """The key ranges in key order, each cut into shards of equal size (±1) that are not larger than the recipe's."""
    totals = [0] * read_layout(run).buckets
    for manifest in run.manifests("filter"):
        totals = [total + rows for total, rows in zip(totals, manifest.counts["ranges"], strict=True)]
    ranges, before = [], 0
    for number, rows in enumerate(totals):
        if rows:
            shards = -(-rows // run.recipe.plan.shard_size)
            ranges.append(KeyRange(number, before, tuple(rows * i // shards for i in range(shards + 1))))
            before += shards
    return ranges


def plan_shards(run: Run) -> list[str]:
    """Names of all plan shards."""
    return [shard for key_range in key_ranges(run) for shard in key_range.shards]


class Plan(Stage):
    """Pairs of equal key ranges, sorted by key, in shards of equal size; an item is a range, which may hold several shards."""

    name = "plan"
    command = "plan"
    label = "plan shards"
    summary = "Divide the kept pairs into shards, in key order."
    per_plan_shard = True
    endings = (".parquet",)
    views = (
        View(
            "plan",
            pa.schema([*PAIR_SCHEMA, pa.field("key", pa.string(), False)]),
            "pairs that the rules kept, with everything the metadata says: one row a pair",
        ),
    )

    def inputs(self, recipe: Recipe) -> dict[str, Any]:
        """The size of a shard."""
        return {"shard_size": recipe.plan.shard_size}

    def shards(self, run: Run) -> list[str]:
        """All of them, range by range."""
        return plan_shards(run)

    def pending(self, run: Run) -> list[Item]:
        """The key ranges of which a shard is missing."""
        done, ranges = run.done(self.name), key_ranges(run)
        return [Item(f"range-{it.number}", it) for it in ranges if not done.issuperset(it.shards)]

    def process(self, run: Run, item: Item) -> None:
        """Divide one key range; each of its shards is committed on its own."""
        _plan_range(run, item.detail)

    def finish(self, run: Run) -> None:
        """Remove what the stages before left for this one."""
        for stage in ("read", "filter"):
            for entry in list(run.storage.list(f"{run.stages[stage].folder}/")):
                if entry.name.endswith(".arrow"):
                    run.storage.remove(entry.name)


def _plan_range(run: Run, key_range: KeyRange) -> None:
    if all(run.manifest("plan", shard) for shard in key_range.shards):
        return
    buckets = read_layout(run).buckets
    files = [run.open_scratch("filter", f"{number:06d}", ".arrow") for number in range(buckets)]
    rows = pa.concat_tables([read_bucket(file, key_range.number, buckets) for file in files])
    ordered = rows.take(pc.sort_indices(rows["key"])).combine_chunks()
    for shard, (start, end) in zip(key_range.shards, pairwise(key_range.ends), strict=True):
        _commit(run, shard, ordered.slice(start, end - start))


def _commit(run: Run, shard: str, pairs: pa.Table) -> None:
    with begin_attempt(run, "plan", shard) as attempt:
        _write(attempt, pairs)


def _write(attempt: Attempt, pairs: pa.Table) -> None:
    write_parquet(pairs, attempt.output(".parquet"))
    attempt.commit(tally(pairs))
