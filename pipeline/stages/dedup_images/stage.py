"""Dedup images: what only all pairs of a run together can tell: near-duplicates, images of evaluation sets, full sources.

One item. It reads fingerprints and scores, no image; 150 bytes a pair are in memory, and the search's own arrays (3.7 GiB in
all for 8.7 million pairs).
Embeddings are read of those pairs alone whose hashes are near another's. `select` reads the decisions on its shard.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foundation.lazy import polars as pl
from pipeline.recipe import Recipe
from pipeline.run.attempt import Attempt
from pipeline.run.folder import Item, Run
from pipeline.run.manifest import RunError
from pipeline.stages.base import Stage, View, lost_keys
from pipeline.stages.dedup_images.data import EvalImageTable, Scored
from pipeline.stages.dedup_images.duplicates import Copies, find_copies
from pipeline.stages.dedup_images.matching import Fingerprints, nearest
from pipeline.stages.dedup_images.stored_embeddings import PairEmbeddings, read_embeddings
from pipeline.stages.dedup_images.tables import (
    CLUSTERS,
    CLUSTERS_ENDING,
    DECISIONS,
    DECISIONS_ENDING,
    SHARD,
    commit,
)
from pipeline.stages.layout import SELECTING
from pipeline.stages.plan import plan_shards
from pipeline.stages.score import embeddings
from pipeline.stages.score.embeddings import Confirmation
from pipeline.stages.score.fingerprint import COLUMNS
from pipeline.stages.score.stage import read_scores
from pipeline.stages.thresholds import score_reasons

REASONS: Mapping[str, str] = {
    "test_image_NAME": "the image is, or nearly is, one of the evaluation set NAME of images.test_sets",
    "duplicate_image": "the image has the very pixels of a better pair's",
    "near_duplicate_image": "the image nearly is that of a better pair",
    "over_source_cap": "the source has max_pairs better (or, by choice, other) pairs",
}
"""Reasons that this stage decides on, and `select` writes into its ledger."""


class DedupImages(Stage):
    """Decisions on pairs that are not kept, in key order, and clusters of near-duplicates: one shard for the run.

    Files: SHARD.decisions.parquet and SHARD.clusters.parquet.
    """

    name = "dedup_images"
    command = "select"
    label = "dedup images"
    summary = "Find near-duplicates, images of evaluation sets, and pairs beyond a source's max_pairs."
    cheap = True
    endings = (DECISIONS_ENDING, CLUSTERS_ENDING)
    views = (
        View(
            "clusters",
            CLUSTERS,
            "near-duplicates: cluster (key of the pair that stays), key, source, kind, distance in bits of 192",
            ending=CLUSTERS_ENDING,
            with_shard=False,
        ),
    )

    def inputs(self, recipe: Recipe) -> dict[str, Any]:
        """All that is decided on scores and images."""
        return dedup_inputs(recipe)

    def enabled(self, recipe: Recipe) -> bool:
        """Whether the recipe asks for anything that needs all pairs."""
        return _needs_all_pairs(recipe)

    def shards(self, run: Run) -> list[str]:
        """One; none where there is nothing to compare."""
        return [SHARD] if self.enabled(run.recipe) and plan_shards(run) else []

    def make(self, attempt: Attempt, item: Item) -> None:  # noqa: ARG002  there is one item
        """Commit decisions and clusters."""
        run = attempt.run
        tests = _eval_images(run)
        pairs = _read(run, tests)
        eligible = pairs.passes & (pairs.test < 0)
        rank = np.empty(len(eligible), dtype=np.int64)
        rank[np.lexsort((np.arange(len(rank)), -pairs.area, -pairs.score))] = np.arange(len(rank))
        copies = _copies(run, pairs, rank, eligible, attempt.folder)
        over = _over_caps(run, pairs, rank, eligible & (copies.winner < 0))
        commit(run, attempt, pairs, tests, copies, over)


def dedup_inputs(recipe: Recipe) -> dict[str, Any]:
    """All that is decided on scores and images: what `select` reads of each source, and the section `images`."""
    values = recipe.canonical()
    by_source = {name: {key: source[key] for key in SELECTING} for name, source in values["sources"].items()}
    return {"by_source": by_source, "images": values["images"]}


def read_decisions(run: Run, keys: pa.ChunkedArray) -> pa.Table:
    """The decisions on a shard's pairs: its `keys` are in key order."""
    if not _needs_all_pairs(run.recipe) or not len(keys):
        return DECISIONS.empty_table()
    between = [("key", ">=", keys[0].as_py()), ("key", "<=", keys[-1].as_py())]
    return run.table("dedup_images", SHARD, DECISIONS_ENDING, filters=between, schema=DECISIONS)


def _needs_all_pairs(recipe: Recipe) -> bool:
    return _looks_at_images(recipe) or any(source.max_pairs is not None for source in recipe.sources.values())


def _looks_at_images(recipe: Recipe) -> bool:
    return bool(recipe.images.test_sets) or recipe.images.duplicates is not None


def _eval_images(run: Run) -> EvalImageTable | None:
    if not run.recipe.images.test_sets:
        return None
    shards = [run.table("eval_images", manifest.shard) for manifest in run.manifests("eval_images")]
    usable = [table.filter(pc.is_null(table["error"])) for table in shards]
    sets = np.repeat(np.arange(len(usable)), [table.num_rows for table in usable])
    return EvalImageTable.of(pa.concat_tables(usable), sets, run.recipe.images.test_min_cosine is not None)


def _read(run: Run, tests: EvalImageTable | None) -> Scored:
    """All shards, several at a time; each goes to its place at once, so that memory holds it all but once."""
    counts = {shard: _scored_rows(run, shard) for shard in plan_shards(run)}
    columns: dict[str, np.ndarray] = {}
    start = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for part in pool.map(lambda shard: _read_shard(run, shard, tests), counts):
            for name, column in _columns(part).items():
                if name not in columns:
                    columns[name] = np.empty((sum(counts.values()), *column.shape[1:]), column.dtype)
                columns[name][start : start + len(column)] = column
            start += len(part.keys)
    prints = {field.name: columns.pop(field.name) for field in fields(Fingerprints) if field.name in columns}
    return Scored(**columns, images=Fingerprints(**prints) if prints else None, shards=counts)


def _scored_rows(run: Run, shard: str) -> int:
    """Scored pairs of a shard that reach this stage."""
    manifest = run.manifest("score", shard)
    assert manifest is not None  # the stage before is complete
    return int(manifest.counts["out"]) - len(lost_keys(run, shard, "score", "dedup_images"))


def _columns(part: Scored) -> dict[str, np.ndarray]:
    """All that has a value for each pair."""
    columns = {name: column for name, column in vars(part).items() if name not in ("images", "shards")}
    return columns | (vars(part.images) if part.images else {})


def _read_shard(run: Run, shard: str, tests: EvalImageTable | None) -> Scored:
    scores = read_scores(run, shard, "dedup_images")
    plan = run.table("plan", shard, columns=["key", "source", "url"])
    raw = run.table("download", shard, columns=["key", "original_width", "original_height"])
    pairs, sizes = (table.filter(pc.is_in(table["key"], scores["key"])) for table in (plan, raw))
    if not (pairs["key"].equals(scores["key"]) and sizes["key"].equals(scores["key"])):
        raise ValueError(f"shard {shard}: plan/, download/ and score/ do not hold the same keys; run `zhclip verify`")
    images = _fingerprints(run, shard, scores)
    recipe, count = run.recipe.images, scores.num_rows
    test, bits = np.full(count, -1, dtype=np.int64), np.zeros(count, dtype=np.int64)
    cosine = np.full(count, np.nan, np.float32)
    if images is not None and tests is not None:
        confirm = _confirmed_by(run, shard, scores, tests)
        test, bits, cosine = nearest(images, tests.images, recipe.test_distance, recipe.test_colours, confirm)
    area = pc.multiply(pc.cast(sizes["original_width"], pa.int64()), pc.cast(sizes["original_height"], pa.int64()))
    source = pc.index_in(pairs["source"], pa.array(list(run.recipe.sources))).to_numpy().astype(np.int16)
    return Scored(
        np.array(scores["key"].to_pylist(), dtype="S32"),
        source,
        scores["score"].to_numpy(),
        ~np.any(list(score_reasons(run.recipe, pairs["source"], scores).values()), axis=0),
        area.to_numpy(),
        pl.DataFrame(pairs.select(["source", "url"])).hash_rows().to_numpy(),
        test,
        bits,
        cosine,
        images,
        {shard: count},
    )


def _confirmed_by(run: Run, shard: str, scores: pa.Table, tests: EvalImageTable) -> Confirmation | None:
    """What else makes a pair of this shard a copy of a test image, where the recipe asks for more than hashes."""
    least, vectors = run.recipe.images.test_min_cosine, tests.embeddings
    if least is None or vectors is None:
        return None
    towers = set(scores["image_revision"].to_pylist()) - {tests.revision}
    if towers:
        raise RunError(
            f"score/{shard}.parquet has embeddings of image tower {towers.pop()}, eval_images/ of {tests.revision}: "
            "score.image_model was replaced in between. Put the former one back and remove eval_images/, or start a new run"
        )

    def cosine(pairs: np.ndarray, images: np.ndarray) -> np.ndarray:
        rows, first = np.unique(pairs, return_inverse=True)
        return embeddings.cosines(read_embeddings(run, shard, rows), first, vectors, tests.image_row[images])

    return Confirmation(least, cosine)


def _fingerprints(run: Run, shard: str, scores: pa.Table) -> Fingerprints | None:
    if not _looks_at_images(run.recipe):
        return None
    missing = [name for name in COLUMNS if name not in scores.column_names]
    if missing:
        raise RunError(
            f"score/{shard}.parquet has no column {', '.join(missing)}: an older version scored it. Start a new run with "
            "--run to compare images"
        )
    return Fingerprints.decode(*(scores[name].to_pylist() for name in COLUMNS))


def _copies(run: Run, pairs: Scored, rank: np.ndarray, eligible: np.ndarray, scratch: Path) -> Copies:
    config = run.recipe.images.duplicates
    if config is None or pairs.images is None:
        nobody = np.full(len(rank), -1, dtype=np.int64)
        return Copies(
            nobody, np.zeros_like(nobody), np.zeros(len(rank), dtype=bool), np.full(len(rank), np.nan, np.float32)
        )
    confirm = None
    if config.min_cosine is not None:
        confirm = Confirmation(config.min_cosine, PairEmbeddings(run, pairs.shards, scratch).cosine)
    copies = find_copies(pairs.images, rank, eligible, config, confirm)
    if config.several_captions:
        same_image = (copies.winner >= 0) & (pairs.url == pairs.url[copies.winner])
        copies.winner[same_image] = -1
    return copies


def _over_caps(run: Run, pairs: Scored, rank: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """bool (n,): kept pairs beyond their source's `max_pairs`. The first by key stay, which is a uniform choice, or the best."""
    over = np.zeros(len(kept), dtype=bool)
    for number, source in enumerate(run.recipe.sources.values()):
        if source.max_pairs is None:
            continue
        rows = np.flatnonzero(kept & (pairs.source == number))
        if source.cap_keeps == "best":
            rows = rows[np.argsort(rank[rows])]
        over[rows[source.max_pairs :]] = True
    return over
