"""Score: image-text similarity and a perceptual hash for every downloaded pair, with the model that gave it."""

from __future__ import annotations

import mmap

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.run.folder import Attempt, Item, Run
from pipeline.run.ledger import FAILED, as_lists, count_by_source, entries, write_ledger, write_parquet
from pipeline.stages.score.embeddings import COLUMNS as EMBEDDINGS

MODEL_COLUMNS = ("text_model", "text_revision", "image_model", "image_revision", "dtype")


def work(run: Run, item: Item) -> None:
    """Scores a shard and commits the scores, in the order of its pairs; images that do not decode go to the ledger."""
    with run.attempt("score", item.name) as attempt:
        _score(run, item.name, attempt)


def _score(run: Run, shard: str, attempt: Attempt) -> None:
    from pipeline.stages.score import load_scorer  # brings torch, which no other step needs

    pairs = downloaded(run, shard)
    scorer = load_scorer(run.recipe.score)
    with mapped(run, shard) as tar:
        images = [tar[start : start + size] for start, size in zip(*_places(pairs), strict=True)]
    found = scorer.score(images, pairs["caption"].to_pylist())
    broken = pc.is_null(found["score"])
    lost = pairs.filter(broken)
    scores = found.drop_columns(["error"]).add_column(0, "key", pairs["key"]).filter(pc.invert(broken))
    for column in MODEL_COLUMNS:
        scores = scores.append_column(
            column, pa.repeat(pa.scalar(scorer.identity[column], pa.string()), scores.num_rows)
        )
    path, ledger = attempt.folder / "scores.parquet", attempt.folder / "ledger.parquet"
    write_parquet(scores, path)
    reasons = as_lists(pa.chunked_array([pa.repeat(pa.scalar("image_undecodable"), lost.num_rows)]))
    write_ledger(ledger, entries(lost, "score", FAILED, reasons, found.filter(broken)["error"]))
    attempt.commit(
        {path: run.path("score", f"{shard}.parquet"), ledger: run.ledger_path("score", shard)},
        {
            "in": pairs.num_rows,
            "failed": lost.num_rows,
            "out": scores.num_rows,
            "sources": count_by_source(pairs, lost, "failed"),
        },
    )


def downloaded(run: Run, shard: str) -> pa.Table:
    """The pairs of a shard whose image is there, in key order, with the columns of plan/ and of raw/."""
    pairs = pq.read_table(run.path("plan", f"{shard}.parquet"))
    raw = pq.read_table(run.path("download", f"{shard}.parquet"))
    if not raw["key"].equals(pairs["key"]):
        raise ValueError(f"raw/{shard}.parquet does not hold the keys of plan/{shard}.parquet; run `zhclip verify`")
    declared = {"width": "declared_width", "height": "declared_height"}
    together = pairs.rename_columns([declared.get(name, name) for name in pairs.column_names])
    for name in raw.column_names:
        if name not in ("key", "status", "reason", "detail"):
            together = together.append_column(name, raw[name])
    return together.filter(pc.equal(raw["status"], "ok"))


def read_scores(run: Run, shard: str) -> pa.Table:
    """What is known of a shard's scored pairs, without their embeddings (`stored_embeddings` reads those)."""
    path = run.path("score", f"{shard}.parquet")
    names = [name for name in pq.read_schema(path).names if name not in EMBEDDINGS]
    return pq.read_table(path, columns=names)


def mapped(run: Run, shard: str) -> mmap.mmap:
    """The shard's raw tar, mapped into memory."""
    with run.path("download", f"{shard}.tar").open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _places(pairs: pa.Table) -> tuple[list[int], list[int]]:
    return pairs["offset"].to_pylist(), pairs["length"].to_pylist()
