"""Download: one shard of urls becomes one tar of JPEGs and a table that says what became of every row."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from foundation.text import counted
from pipeline.recipe import Recipe
from pipeline.recipe.download import REASONS
from pipeline.run.attempt import Attempt
from pipeline.run.counts import stage_counts
from pipeline.run.folder import Item, Run
from pipeline.run.ledger import as_lists, entries, tally
from pipeline.run.outcomes import FAILED, Outcome
from pipeline.run.parquet import write_parquet
from pipeline.sources.columns import to_text
from pipeline.stages.base import Stage, TooMuchFailed, View, handed_on, without
from pipeline.stages.download import resume
from pipeline.stages.download.content import content_of, stored_hashes
from pipeline.stages.download.shard import ShardFailed, download_shard
from pipeline.stages.download.writer import OUTCOME_SCHEMA
from pipeline.stages.plan import plan_shards


class Download(Stage):
    """The image of every planned pair, a plan shard at a time: SHARD.tar and SHARD.parquet."""

    name = "download"
    command = "download"
    label = "download"
    summary = "Fetch and resize the images of every planned shard."
    extra = "download"
    per_plan_shard = True
    endings = (".tar", ".parquet")
    outcomes = (
        Outcome("not_fetched", "not fetched", FAILED, "Pairs whose image cannot be fetched, or is no usable image."),
    )
    reasons = REASONS
    views = (
        View(
            "downloads",
            OUTCOME_SCHEMA,
            "what became of each planned pair's image: status ok or failed, reason, sizes; offset and length in "
            "download/SHARD.tar",
        ),
    )

    def inputs(self, recipe: Recipe) -> dict[str, Any]:
        """How images are fetched."""
        return download_inputs(recipe)

    def shards(self, run: Run) -> list[str]:
        """The plan's."""
        return plan_shards(run)

    def process(self, run: Run, item: Item) -> None:
        """Download a shard and commit tar, table and ledger together.

        Raises:
            ShardFailed: this machine cannot download.
        """
        super().process(run, item)
        resume.forget(run, item.name)

    def make(self, attempt: Attempt, item: Item) -> None:
        """One try."""
        _download(attempt.run, item.name, attempt)

    def check(self, run: Run) -> None:
        """Compare with limits.download_failed_share."""
        limit = run.recipe.limits.download_failed_share
        counts = stage_counts(run, self.name).values()
        failed, tried = sum(source[FAILED] for source in counts), sum(source["in"] for source in counts)
        if failed > limit * tried:
            raise TooMuchFailed(
                f"{failed:,} of {tried:,} downloads failed, more than limits.download_failed_share ({limit:g}) allows; "
                f"`zhclip status` shows the reasons. After an outage, `zhclip retry {run.address}` fetches them again"
            )


def download_inputs(recipe: Recipe) -> dict[str, Any]:
    """How images are fetched and stored, but for what may change in the middle of a run."""
    return {"download": without(recipe.canonical()["download"], {"threads", "shard_deadline"})}


def _outcomes(run: Run, shard: str, pairs: pa.Table, attempt: Attempt) -> pa.Table:
    """Of all pairs, in their order; those that a try before has settled are not asked for again."""
    kept = resume.kept(run, shard)
    before = resume.outcomes(run, kept) if kept else None
    rows = pairs if before is None else pairs.filter(pc.invert(pc.is_in(pairs["key"], before["key"])))
    folders = {name: source.image_folders for name, source in run.recipe.sources.items() if source.image_folders}
    outcomes = download_shard(rows, attempt.folder, run.recipe.download, folders, run.recipe.limits.attempts)
    if kept is None or before is None:
        return outcomes
    joined = resume.join(run, kept, before, outcomes, attempt.folder / "images.tar")
    joined = joined.take(pc.index_in(pairs["key"], joined["key"]))
    write_parquet(joined, attempt.folder / "images.parquet")
    return joined


def _download(run: Run, shard: str, attempt: Attempt) -> None:
    pairs = handed_on(run, shard, run.table("plan", shard), "plan", "download")
    outcomes = _outcomes(run, shard, pairs, attempt)
    if not outcomes["key"].equals(pairs["key"]):
        counts = f"{counted(outcomes.num_rows, 'result')} for {counted(pairs.num_rows, 'row')}"
        raise ShardFailed(f"shard {shard}: {counts}, or in another order")
    failed = pc.not_equal(outcomes["status"], "ok")
    lost, failures = pairs.filter(failed), outcomes.filter(failed)
    readable = to_text(lost["url"].cast(pa.binary()))  # the ledger is text, also of a url that is not
    lost = lost.set_column(lost.schema.get_field_index("url"), "url", readable)
    attempt.output(".tar", written="images.tar")
    attempt.output(".parquet", written="images.parquet")
    attempt.ledger(entries(lost, "download", FAILED, as_lists(failures["reason"]), failures["detail"]))
    reasons = dict(sorted(Counter(failures["reason"].to_pylist()).items()))
    content = content_of(outcomes, stored_hashes(outcomes, attempt.folder / "images.tar"))
    attempt.commit({**tally(pairs, lost, FAILED), "reasons": reasons, "content": content})
