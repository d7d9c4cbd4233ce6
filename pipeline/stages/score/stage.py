"""Score: image-text similarity and a perceptual hash for every downloaded pair, with the model that gave it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.recipe import Recipe
from pipeline.run.attempt import Attempt
from pipeline.run.folder import Item, Run
from pipeline.run.ledger import as_lists, entries, tally
from pipeline.run.outcomes import FAILED, Outcome
from pipeline.run.parquet import write_parquet
from pipeline.stages.base import Stage, View, handed_on, without
from pipeline.stages.plan import plan_shards
from pipeline.stages.score.embeddings import COLUMNS as EMBEDDINGS
from pipeline.stages.score.fingerprint import COLUMNS as FINGERPRINT

MODEL_COLUMNS = ("text_model", "text_revision", "image_model", "image_revision", "dtype")


SCORES = pa.schema(
    [
        pa.field("key", pa.string(), False),
        pa.field("score", pa.float32()),
        *(pa.field(name, pa.string()) for name in (*FINGERPRINT, *MODEL_COLUMNS)),
    ]
)
"""The columns of scores that are always there; embeddings and nsfw_score where the recipe asks for them."""


class Score(Stage):
    """Scores of a plan shard, in the order of its pairs; images that do not decode go to the ledger."""

    name = "score"
    command = "score"
    label = "score"
    summary = "Score every downloaded pair with Multilingual-CLIP."
    extra = "score"
    per_plan_shard = True
    endings = (".parquet",)
    outcomes = (Outcome("not_decoded", "not decoded", FAILED, "Pairs whose stored image does not decode."),)
    reasons: ClassVar[Mapping[str, str]] = {"image_undecodable": "the stored image does not decode, so it has no score"}
    views = (
        View(
            "scores",
            SCORES,
            "similarity of each decoded pair, fingerprints of its image, and the model that gave the score",
        ),
    )

    def inputs(self, recipe: Recipe) -> dict[str, Any]:
        """The model."""
        return score_inputs(recipe)

    def shards(self, run: Run) -> list[str]:
        """The plan's."""
        return plan_shards(run)

    def make(self, attempt: Attempt, item: Item) -> None:
        """Score one shard and commit it."""
        _score(attempt.run, item.name, attempt)


def score_inputs(recipe: Recipe) -> dict[str, Any]:
    """The model, but for the device that it runs on."""
    return {"score": without(recipe.canonical()["score"], {"device"})}


def _score(run: Run, shard: str, attempt: Attempt) -> None:
    from pipeline.stages.score import load_scorer  # brings torch, which no other step needs

    pairs = handed_on(run, shard, downloaded(run, shard), "download", "score")
    scorer = load_scorer(run.recipe.score)
    images = list(stored_images(run, shard, pairs))
    results = scorer.score(images, pairs["caption"].to_pylist())
    broken = pc.is_null(results["score"])
    lost = pairs.filter(broken)
    scores = results.drop_columns(["error"]).add_column(0, "key", pairs["key"]).filter(pc.invert(broken))
    for column in MODEL_COLUMNS:
        scores = scores.append_column(
            column, pa.repeat(pa.scalar(scorer.identity[column], pa.string()), scores.num_rows)
        )
    write_parquet(scores, attempt.output(".parquet"))
    reasons = as_lists(pa.chunked_array([pa.repeat(pa.scalar("image_undecodable"), lost.num_rows)]))
    attempt.ledger(entries(lost, "score", FAILED, reasons, results.filter(broken)["error"]))
    attempt.commit(tally(pairs, lost, FAILED))


def downloaded(run: Run, shard: str) -> pa.Table:
    """The pairs of a shard whose image is there, in key order, with the columns of plan/ and of download/."""
    pairs = handed_on(run, shard, run.table("plan", shard), "plan", "download")
    raw = run.table("download", shard)
    if not raw["key"].equals(pairs["key"]):
        raise ValueError(f"shard {shard}: download/ does not hold the keys of plan/; run `zhclip verify`")
    declared = {"width": "declared_width", "height": "declared_height"}
    together = pairs.rename_columns([declared.get(name, name) for name in pairs.column_names])
    for name in raw.column_names:
        if name not in ("key", "status", "reason", "detail"):
            together = together.append_column(name, raw[name])
    return together.filter(pc.equal(raw["status"], "ok"))


def read_scores(run: Run, shard: str, before: str = "eval_images") -> pa.Table:
    """What is known of a shard's scored pairs that reach stage `before`, without their embeddings."""
    with run.open("score", shard) as file:
        names = [name for name in pq.read_schema(file).names if name not in EMBEDDINGS]
        file.seek(0)
        return handed_on(run, shard, pq.read_table(file, columns=names), "score", before)


def stored_images(run: Run, shard: str, pairs: pa.Table) -> Iterator[bytes]:
    """The JPEG of each of these pairs of a plan shard, which have `offset` and `length`, as the download stored it."""
    return run.ranges("download", shard, ".tar", pairs["offset"].to_pylist(), pairs["length"].to_pylist())
