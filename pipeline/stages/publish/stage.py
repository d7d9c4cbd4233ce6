"""Publish: kept pairs as webdataset tars, each with a Parquet index that says where every image lies in its tar.

Shards are cut by the rank of a pair among all kept pairs in key order, so they do not depend on how many workers ran.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from foundation.pairs import PAIR_SCHEMA
from pipeline.recipe import Recipe
from pipeline.run.attempt import Attempt
from pipeline.run.folder import Item, Run
from pipeline.run.ledger import tally
from pipeline.run.names import DATASET
from pipeline.run.outcomes import Outcome
from pipeline.run.parquet import write_parquet
from pipeline.run.tar import END_OF_TAR, sample_members
from pipeline.stages.base import Stage, View, handed_on
from pipeline.stages.download.writer import OUTCOME_SCHEMA
from pipeline.stages.publish import card
from pipeline.stages.publish.handing_on import hand_on
from pipeline.stages.score.stage import MODEL_COLUMNS, SCORES, downloaded, read_scores, stored_images

Piece = tuple[str, int, int]
NOT_PUBLISHED = ("offset", "length")  # of the raw tar


PUBLISHED_OF_IMAGE = (
    "width", "height", "original_width", "original_height", "original_bytes", "original_sha256", "content_type",
)  # fmt: skip
INDEX = pa.schema(
    [
        *(
            field.with_name(f"declared_{field.name}") if field.name in ("width", "height") else field
            for field in (*PAIR_SCHEMA, pa.field("key", pa.string(), False))
        ),
        *(field for field in OUTCOME_SCHEMA if field.name in PUBLISHED_OF_IMAGE),
        *(SCORES.field(name) for name in ("score", "image_hash", *MODEL_COLUMNS)),
        *(pa.field(name, pa.string()) for name in ("image_sha256", "tar")),
        *(pa.field(name, pa.int64()) for name in ("offset", "length")),
    ]
)
"""The columns of a published index."""


class Publish(Stage):
    """One shard per `pairs_per_shard` kept pairs: SHARD.tar and its index, SHARD.parquet; the last one may be smaller.

    When all are there they are handed on under plain names in `dataset/`, which only the driver of the run writes to: it stands
    alone, and keeps its name wherever it goes.
    """

    name = "publish"
    command = "publish"
    label = "publish"
    summary = "Write the kept pairs as webdataset tars with Parquet indexes."
    published = DATASET
    cheap = True
    endings = (".tar", ".parquet")
    outcomes = (Outcome("published", "published", description=f"Pairs in {DATASET}/."),)
    views = (
        View(
            "pairs",
            INDEX,
            f"published pairs: everything known of them, with offset and length of the image in {DATASET}/TAR",
        ),
    )

    def inputs(self, recipe: Recipe) -> dict[str, Any]:
        """The size of a shard, and what the data card shows."""
        values = recipe.canonical()
        card = {
            name: {key: source[key] for key in ("license", "homepage")} for name, source in values["sources"].items()
        }
        return {"publish": values["publish"], "name": values["name"], "card": card}

    def shards(self, run: Run) -> list[str]:
        """As many as the kept pairs fill."""
        kept = sum(rows for _, rows in kept_by_plan_shard(run))
        return [f"{number:06d}" for number in range(-(-kept // run.recipe.publish.pairs_per_shard))]

    def pending(self, run: Run) -> list[Item]:
        """The shards that are missing, each with the pieces of plan shards that it takes."""
        done = run.done(self.name)
        return [Item(shard, pieces) for shard, pieces in shards_of_pieces(run).items() if shard not in done]

    def make(self, attempt: Attempt, item: Item) -> None:
        """Write one published shard: tar, index, and a manifest that is the same for the same input."""
        table = _write_tar(attempt.run, item.name, item.detail, attempt.output(".tar"))
        write_parquet(table, attempt.output(".parquet"))
        attempt.commit(tally(table))

    def finish(self, run: Run) -> None:
        """Make the folder stand alone: shards under plain names, a manifest of all of them, and the data card."""
        hand_on(run)
        run.check_lease()
        card.write(run)


def kept_by_plan_shard(run: Run) -> list[tuple[str, int]]:
    """(plan shard, pairs that the last stage before this one handed on), in key order."""
    return [(manifest.shard, int(manifest.counts["out"])) for manifest in run.manifests(kept_stage(run))]


def kept_stage(run: Run) -> str:
    """The last stage on plan shards before this one: what it hands on is published."""
    return ["select", *run.between("select", "publish")][-1]


def shards_of_pieces(run: Run) -> dict[str, list[Piece]]:
    """Published shard → (plan shard, first, end): which of a plan shard's kept pairs it takes, in key order."""
    size, rank = run.recipe.publish.pairs_per_shard, 0
    shards: dict[str, list[Piece]] = {}
    for plan_shard, kept in kept_by_plan_shard(run):
        start = 0
        while start < kept:
            end = min(kept, start + size - (rank + start) % size)
            shards.setdefault(f"{(rank + start) // size:06d}", []).append((plan_shard, start, end))
            start = end
        rank += kept
    return shards


def _kept(run: Run, shard: str) -> pa.Table:
    """The kept pairs of a plan shard, in key order, with all that is known of them."""
    decisions = run.table("select", shard)
    scores = read_scores(run, shard, "select")
    pairs = downloaded(run, shard)
    pairs = pairs.filter(pc.is_in(pairs["key"], scores["key"]))
    if not (pairs["key"].equals(scores["key"]) and pairs["key"].equals(decisions["key"])):
        raise ValueError(f"shard {shard}: download/, score/ and select/ do not hold the same keys; run `zhclip verify`")
    for column in ("score", "image_hash", *MODEL_COLUMNS):
        pairs = pairs.append_column(column, scores[column])
    return handed_on(run, shard, pairs.filter(decisions["keep"]), "select", "publish")


def _write_tar(run: Run, shard: str, pieces: list[Piece], path: Path) -> pa.Table:
    tables, offsets, hashes, position = [], [], [], 0
    with path.open("wb") as file:
        for source_shard, start, stop in pieces:
            rows = _kept(run, source_shard).slice(start, stop - start)
            public = rows.drop_columns(list(NOT_PUBLISHED))
            for image, row in zip(stored_images(run, source_shard, rows), public.to_pylist(), strict=True):
                hashes.append(hashlib.sha256(image).hexdigest())
                members = sample_members(row["key"], image, {**row, "image_sha256": hashes[-1]})
                offsets.append(position + members.image_offset)
                position += file.write(members.content)
            tables.append(public.append_column("length", rows["length"]))
        file.write(END_OF_TAR)
    return _index(pa.concat_tables(tables), shard, offsets, hashes)


def _index(pairs: pa.Table, shard: str, offsets: list[int], hashes: list[str]) -> pa.Table:
    lengths = pairs["length"]
    return (
        pairs.drop_columns(["length"])
        .append_column("image_sha256", pa.array(hashes, pa.string()))
        .append_column("tar", pa.repeat(pa.scalar(f"{shard}.tar"), pairs.num_rows))
        .append_column("offset", pa.array(offsets, pa.int64()))
        .append_column("length", lengths)
    )
