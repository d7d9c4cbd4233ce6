"""Download: one shard of urls becomes one tar of JPEGs and a table that says what became of every row."""

from __future__ import annotations

from collections import Counter

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.download.shard import ShardFailed, download_shard
from pipeline.ledger import FAILED, as_lists, count_by_source, entries, write_ledger
from pipeline.runfolder import Attempt, Item, Run
from pipeline.sources.config import image_places


def work(run: Run, item: Item) -> None:
    """Downloads a shard in a child process, again where the child died, and commits tar, table and ledger together.

    Raises:
        ShardFailed: every attempt that the recipe allows died or ran out of time.
    """
    for number in range(run.recipe.limits.attempts):
        with run.attempt("download", item.name) as attempt:
            try:
                _download(run, item.name, attempt)
                return
            except ShardFailed:
                if number + 1 == run.recipe.limits.attempts:
                    raise


def _download(run: Run, shard: str, attempt: Attempt) -> None:
    pairs = pq.read_table(run.path("plan", f"{shard}.parquet"))
    found = download_shard(pairs, attempt.folder, run.recipe.download, image_places(run.recipe.sources))
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
