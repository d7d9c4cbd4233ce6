"""Select: which scored pairs are kept; numbers and verdicts in, decisions out, no image touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.base import decode_reasons
from foundation.lazy import polars as pl
from foundation.pairs import PAIR_SCHEMA
from foundation.text import counted
from pipeline.recipe import Recipe
from pipeline.run.attempt import Attempt
from pipeline.run.folder import Item, Run
from pipeline.run.ledger import entries, tally
from pipeline.run.outcomes import REJECTED, Outcome
from pipeline.run.parquet import write_parquet
from pipeline.stages.base import Stage, View
from pipeline.stages.dedup_images.stage import REASONS as IMAGE_REASONS
from pipeline.stages.dedup_images.stage import read_decisions
from pipeline.stages.plan import plan_shards
from pipeline.stages.score.stage import SCORES, read_scores
from pipeline.stages.thresholds import NSFW_TOO_HIGH, SCORE_TOO_LOW, limit_of_pairs, score_reasons

DECISIONS = pa.schema(
    [
        SCORES.field("key"),
        PAIR_SCHEMA.field("source"),
        SCORES.field("score"),
        SCORES.field("image_hash"),
        pa.field("min_score", pa.float32()),
        pa.field("keep", pa.bool_()),
    ]
)


class Select(Stage):
    """The decision on every scored pair of a plan shard, in key order."""

    name = "select"
    command = "select"
    label = "select"
    summary = "Reject pairs below their source's threshold, and those that dedup_images ruled out."
    cheap = True
    per_plan_shard = True
    endings = (".parquet",)
    outcomes = (
        Outcome(
            "not_selected",
            "not selected",
            REJECTED,
            "Pairs below their source's score threshold, near-duplicates, images of evaluation sets, and what exceeds a cap.",
        ),
    )
    reasons: ClassVar[Mapping[str, str]] = {
        SCORE_TOO_LOW: "the score is below the source's min_score",
        NSFW_TOO_HIGH: "the nsfw_score is above the source's max_nsfw",
        **IMAGE_REASONS,
    }
    views = (View("decisions", DECISIONS, "of each scored pair: its threshold (min_score) and whether it is kept"),)

    def shards(self, run: Run) -> list[str]:
        """The plan's."""
        return plan_shards(run)

    def make(self, attempt: Attempt, item: Item) -> None:
        """Decide on one shard and commit it."""
        _select(attempt.run, item.name, attempt)


def _select(run: Run, shard: str, attempt: Attempt) -> None:
    scores = read_scores(run, shard, "select")
    pairs = run.table("plan", shard)
    pairs = pairs.filter(pc.is_in(pairs["key"], scores["key"]))
    if not pairs["key"].equals(scores["key"]):
        raise ValueError(
            f"{counted(scores.num_rows, 'score')} but {counted(pairs.num_rows, 'pair')} that they belong to; run `zhclip verify`"
        )
    reasons, detail = decide(run.recipe, pairs, scores, read_decisions(run, scores["key"]))
    keep = pc.equal(pc.list_value_length(reasons), 0)
    min_score = limit_of_pairs(run.recipe, pairs["source"], "min_score")
    columns = [scores["key"], pairs["source"], scores["score"], scores["image_hash"], min_score, keep]
    write_parquet(pa.Table.from_arrays(columns, schema=DECISIONS), attempt.output(".parquet"))
    dropped = pc.invert(keep)
    lost = pairs.filter(dropped)
    lists = [column.filter(dropped) for column in (reasons, detail, scores["score"])]
    attempt.ledger(entries(lost, "select", REJECTED, *lists))
    attempt.commit(tally(pairs, lost, REJECTED))


def decide(recipe: Recipe, pairs: pa.Table, scores: pa.Table, decisions: pa.Table) -> tuple[pa.ListArray, pa.Array]:
    """The reasons of each scored pair (list of strings, empty where it is kept), and the detail of dedup_images or null.

    Args:
        pairs: the scored pairs of a shard, with a column `source`.
        scores: theirs, in the same order.
        decisions: those of dedup_images on these pairs.
    """
    masks = score_reasons(recipe, pairs["source"], scores)
    bits = np.zeros(pairs.num_rows, dtype=np.uint64)
    for position, mask in enumerate(masks.values()):
        bits |= mask.astype(np.uint64) << np.uint64(position)
    reasons = decode_reasons(bits, tuple(masks))
    if not decisions.num_rows:
        return reasons, pa.nulls(pairs.num_rows, pa.string())
    rows = pc.index_in(scores["key"], decisions["key"]).combine_chunks()
    decided = decisions["reasons"].combine_chunks().take(rows)
    frame = pl.DataFrame({"limits": pl.from_arrow(reasons), "images": pl.from_arrow(decided)})
    joined = frame.select(pl.col("limits").list.concat(pl.col("images").fill_null([]))).to_series()
    return joined.to_arrow().cast(pa.list_(pa.string())), decisions["detail"].combine_chunks().take(rows)
