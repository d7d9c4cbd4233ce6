"""Publish: kept pairs as webdataset tars, each with a Parquet index that says where every image lies in its tar.

Shards are cut by the rank of a pair among all kept pairs in key order, so they do not depend on how many workers ran.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.run.folder import Item, Run
from pipeline.run.ledger import rows_by_source, write_parquet
from pipeline.run.tar import END_OF_TAR, sample_members
from pipeline.stages.publish import card
from pipeline.stages.score.stage import MODEL_COLUMNS, downloaded, mapped, read_scores

Piece = tuple[str, int, int]
NOT_PUBLISHED = ("offset", "length")  # of the raw tar


def expected(run: Run) -> list[str]:
    """One shard per `pairs_per_shard` kept pairs; the last one may be smaller."""
    kept = sum(manifest.counts["out"] for manifest in run.manifests("select"))
    return [f"{number:06d}" for number in range(-(-kept // run.recipe.publish.pairs_per_shard))]


def pending(run: Run) -> list[Item]:
    """The shards that are missing, each with the pieces of plan shards that it takes."""
    done = run.done("publish")
    return [Item(shard, pieces) for shard, pieces in shards_of_pieces(run).items() if shard not in done]


def work(run: Run, item: Item) -> None:
    """Writes one published shard: tar, index, and a manifest that is the same for the same input."""
    shard = item.name
    with run.attempt("publish", shard) as attempt:
        tar, index = attempt.folder / "shard.tar", attempt.folder / "index.parquet"
        table = _write_tar(run, shard, item.detail, tar)
        write_parquet(table, index)
        attempt.commit(
            {tar: run.path("publish", f"{shard}.tar"), index: run.path("publish", f"{shard}.parquet")},
            {"out": table.num_rows, "sources": rows_by_source(table)},
        )


def finish(run: Run) -> None:
    """Makes the folder stand alone: a manifest of all shards, and the data card."""
    card.write(run)


def shards_of_pieces(run: Run) -> dict[str, list[Piece]]:
    """Published shard → (plan shard, first, end): which of a plan shard's kept pairs it takes, in key order."""
    size, rank = run.recipe.publish.pairs_per_shard, 0
    shards: dict[str, list[Piece]] = {}
    for manifest in run.manifests("select"):
        kept, start = manifest.counts["out"], 0
        while start < kept:
            end = min(kept, start + size - (rank + start) % size)
            shards.setdefault(f"{(rank + start) // size:06d}", []).append((manifest.shard, start, end))
            start = end
        rank += kept
    return shards


def _kept(run: Run, shard: str) -> pa.Table:
    """The kept pairs of a plan shard, in key order, with all that is known of them."""
    decisions = pq.read_table(run.path("select", f"{shard}.parquet"))
    scores = read_scores(run, shard)
    pairs = downloaded(run, shard)
    pairs = pairs.filter(pc.is_in(pairs["key"], scores["key"]))
    if not (pairs["key"].equals(scores["key"]) and pairs["key"].equals(decisions["key"])):
        raise ValueError(f"shard {shard}: raw/, scores/ and select/ do not hold the same keys; run `zhclip verify`")
    for column in ("score", "image_hash", *MODEL_COLUMNS):
        pairs = pairs.append_column(column, scores[column])
    return pairs.filter(decisions["keep"])


def _write_tar(run: Run, shard: str, pieces: list[Piece], path: Path) -> pa.Table:
    tables, offsets, hashes, position = [], [], [], 0
    with path.open("wb") as file:
        for source_shard, start, stop in pieces:
            rows = _kept(run, source_shard).slice(start, stop - start)
            public = rows.drop_columns(list(NOT_PUBLISHED))
            with mapped(run, source_shard) as images:
                for place, size, row in zip(
                    rows["offset"].to_pylist(), rows["length"].to_pylist(), public.to_pylist(), strict=True
                ):
                    image = images[place : place + size]
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
