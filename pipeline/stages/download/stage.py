"""Download: one shard of urls becomes one tar of JPEGs and a table that says what became of every row."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.run.folder import Attempt, Item, Run
from pipeline.run.ledger import FAILED, as_lists, count_by_source, entries, write_ledger
from pipeline.stages.download import retry
from pipeline.stages.download.shard import ShardFailed, download_shard
from pipeline.stages.download.writer import write_table


def work(run: Run, item: Item) -> None:
    """Downloads a shard in a child process, again where the child died, and commits tar, table and ledger together.

    Raises:
        ShardFailed: every attempt that the recipe allows died or ran out of time.
    """
    for number in range(run.recipe.limits.attempts):
        with run.attempt("download", item.name) as attempt:
            try:
                _download(run, item.name, attempt)
                break
            except ShardFailed:
                if number + 1 == run.recipe.limits.attempts:
                    raise
    retry.forget(run, item.name)


def _outcomes(run: Run, shard: str, pairs: pa.Table, attempt: Attempt) -> pa.Table:
    """Of all pairs, in their order; those that a try before has settled are not asked for again."""
    before = retry.kept(run, shard)
    rows = pairs if before is None else pairs.filter(pc.invert(pc.is_in(pairs["key"], before["key"])))
    folders = {name: source.image_folders for name, source in run.recipe.sources.items() if source.image_folders}
    found = download_shard(rows, attempt.folder, run.recipe.download, folders)
    if before is None:
        return found
    both = retry.join(run, shard, before, found, attempt.folder / "images.tar")
    both = both.take(pc.index_in(pairs["key"], both["key"]))
    write_table(both, attempt.folder / "images.parquet")
    return both


def _download(run: Run, shard: str, attempt: Attempt) -> None:
    pairs = pq.read_table(run.path("plan", f"{shard}.parquet"))
    found = _outcomes(run, shard, pairs, attempt)
    if not found["key"].equals(pairs["key"]):
        raise ShardFailed(f"shard {shard}: {found.num_rows} results for {pairs.num_rows} rows, or in another order")
    failed = pc.not_equal(found["status"], "ok")
    lost, why = pairs.filter(failed), found.filter(failed)
    ledger = attempt.folder / "ledger.parquet"
    write_ledger(ledger, entries(lost, "download", FAILED, as_lists(why["reason"]), why["detail"]))
    attempt.commit(
        {
            attempt.folder / "images.tar": run.path("download", f"{shard}.tar"),
            attempt.folder / "images.parquet": run.path("download", f"{shard}.parquet"),
            ledger: run.ledger_path("download", shard),
        },
        {
            "in": pairs.num_rows,
            "failed": lost.num_rows,
            "out": pairs.num_rows - lost.num_rows,
            "sources": count_by_source(pairs, lost, "failed"),
            "reasons": dict(sorted(Counter(why["reason"].to_pylist()).items())),
        },
    )
