"""Plan, part 3: the kept pairs of one key range, sorted by key and cut into download shards."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.run.folder import Item, Run
from pipeline.run.ledger import rows_by_source, write_parquet
from pipeline.stages.read.buckets import read_bucket
from pipeline.stages.read.layout import read_layout


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
    for manifest in run.manifests("judge"):
        totals = [total + rows for total, rows in zip(totals, manifest.counts["ranges"], strict=True)]
    found, before = [], 0
    for number, rows in enumerate(totals):
        if rows:
            shards = -(-rows // run.recipe.plan.shard_size)
            found.append(KeyRange(number, before, tuple(rows * i // shards for i in range(shards + 1))))
            before += shards
    return found


def expected(run: Run) -> list[str]:
    """Names of all download shards."""
    return [shard for one in key_ranges(run) for shard in one.shards]


def pending(run: Run) -> list[Item]:
    """The key ranges of which a shard is missing."""
    done = run.done("plan")
    return [Item(f"range-{one.number}", one) for one in key_ranges(run) if not done.issuperset(one.shards)]


def work(run: Run, item: Item) -> None:
    """Cuts one key range; each of its shards is committed for itself."""
    one: KeyRange = item.detail
    layout = read_layout(run)
    files = [run.path("judge", f"{number:06d}.arrow") for number in range(layout.buckets)]
    rows = pa.concat_tables([read_bucket(path, one.number, layout.buckets) for path in files])
    ordered = rows.take(pc.sort_indices(rows["key"])).combine_chunks()
    for shard, (start, end) in zip(one.shards, pairwise(one.ends), strict=True):
        _commit(run, shard, ordered.slice(start, end - start))


def finish(run: Run) -> None:
    """Removes what the steps before left for this one."""
    for step in ("read", "judge"):
        for path in run.path(step, "").glob("*.arrow"):
            path.unlink()


def _commit(run: Run, shard: str, pairs: pa.Table) -> None:
    with run.attempt("plan", shard) as attempt:
        path = attempt.folder / "pairs.parquet"
        write_parquet(pairs, path)
        counts = {"out": pairs.num_rows, "sources": rows_by_source(pairs)}
        attempt.commit({path: run.path("plan", f"{shard}.parquet")}, counts)
