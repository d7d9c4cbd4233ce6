"""Plan, part 1: one split of a metadata file becomes canonical pairs with keys and row-wise verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa

from filters.base import Filter, judge
from foundation.pairs import PAIR_SCHEMA
from pipeline.run.folder import Attempt, Item, Run
from pipeline.run.ledger import FAILED, OUT_OF_SCOPE, block_entry, write_ledger
from pipeline.sources.base import Source
from pipeline.sources.captions import Captions
from pipeline.sources.splits import Split, Unreadable
from pipeline.stages.read.layout import read_layout
from pipeline.stages.translate.stage import translated

CHUNK_ROWS = 262_144  # rows ordered by bucket at a time
ROWS_SCHEMA = PAIR_SCHEMA.append(pa.field("key", pa.string(), False)).append(pa.field("bits", pa.uint64(), False))
IPC = pa.ipc.IpcWriteOptions(compression="lz4")


def expected(run: Run) -> list[str]:
    """One shard per split."""
    return [f"{number:06d}" for number in range(len(read_layout(run).splits))]


def work(run: Run, item: Item) -> None:
    """Reads one split and commits its pairs, ordered by caption bucket within each chunk."""
    with run.attempt("read", item.name) as attempt:
        _read(run, item.name, attempt)


def _read(run: Run, shard: str, attempt: Attempt) -> None:
    layout = read_layout(run)
    split = layout.splits[int(shard)]
    source = run.recipe.sources[split.source]
    tally = Tally(split)
    rows_path, ledger_path = attempt.folder / "rows.arrow", attempt.folder / "ledger.parquet"
    filters = source.row_rules()
    with pa.OSFile(str(rows_path), "wb") as sink, pa.ipc.new_file(sink, ROWS_SCHEMA, options=IPC) as writer:
        captions = Captions(source, translated(run, shard))
        for chunk in _chunks(_pairs(split, source, tally, captions)):
            judged = _judged(chunk, filters)
            for piece in slices_by_bucket(judged, caption_buckets(judged, layout.buckets), layout.buckets):
                writer.write_batch(piece)
    write_ledger(ledger_path, tally.ledger)
    attempt.commit(
        {ledger_path: run.ledger_path("read", shard)},
        tally.counts,
        scratch={rows_path: run.path("read", f"{shard}.arrow")},
    )


class Tally:
    """Counts of one split as it is read, and the ledger entries of what has no pair."""

    def __init__(self, split: Split) -> None:
        self.split = split
        self.ledger: list[dict[str, Any]] = []
        self.counts: dict[str, Any] = {
            "source": split.source,
            "read": 0,
            "out_of_scope": 0,
            "failed": 0,
            "out": 0,
            "unknown": 0,
        }

    def unreadable(self, found: Unreadable) -> None:
        """Rows that could not be read; where nobody can tell how many, the block counts as `unknown`."""
        rows = found.rows or 0
        self.counts["read"] += rows
        self.counts["failed"] += rows
        self.counts["unknown"] += found.rows is None
        entry = block_entry(
            self.split.source, self.split.file, found.first_row, rows, FAILED, found.reason, found.detail
        )
        self.ledger.append(entry)

    def block(self, rows: int, first_row: int, outside: int) -> None:
        """Rows that were read, `outside` of them in languages that the source does not ask for."""
        self.counts["read"] += rows
        self.counts["out_of_scope"] += outside
        self.counts["out"] += rows - outside
        if outside:
            entry = block_entry(self.split.source, self.split.file, first_row, outside, OUT_OF_SCOPE, "language")
            self.ledger.append(entry)


def _pairs(split: Split, source: Source, tally: Tally, captions: Captions) -> Iterator[pa.Table]:
    for block in source.read(split):
        if isinstance(block, Unreadable):
            tally.unreadable(block)
            continue
        try:
            pairs = source.to_pairs(block.table, split.source, split.file, block.positions)
        except ValueError as error:
            tally.unreadable(Unreadable(int(block.positions[0]), len(block.positions), "unreadable_file", str(error)))
            continue
        pairs = captions.complete(pairs, block.table)
        wanted = source.in_scope(pairs)
        kept = pairs if wanted is None else pairs.filter(pa.array(wanted))
        tally.block(pairs.num_rows, int(block.positions[0]), pairs.num_rows - kept.num_rows)
        yield kept


def _chunks(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Tables of about CHUNK_ROWS rows."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(one.num_rows for one in waiting) >= CHUNK_ROWS:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting = []
    if any(one.num_rows for one in waiting):
        yield pa.concat_tables(waiting).combine_chunks()


def _judged(pairs: pa.Table, filters: tuple[Filter, ...]) -> pa.Table:
    bits = judge(filters, pairs)
    return pa.Table.from_arrays([*pairs.columns, keys(pairs), pa.array(bits)], schema=ROWS_SCHEMA)


def keys(pairs: pa.Table) -> pa.ChunkedArray:
    """The identity of pairs: MD5, 32 hex digits, of source, url and caption, each but the first after a line feed.

    In SQL: `md5(source || chr(10) || coalesce(url, '') || chr(10) || coalesce(caption, ''))`.
    """
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("pairs", pairs.select(["source", "url", "caption"]))
        query = "select md5(source || chr(10) || coalesce(url, '') || chr(10) || coalesce(caption, '')) from pairs"
        return connection.sql(query).to_arrow_table().column(0)


def caption_buckets(pairs: pa.Table, buckets: int) -> np.ndarray:
    """The bucket of each pair, by the hash of its caption: equal captions meet in one bucket, whatever their source."""
    hashes = pl.from_arrow(pairs.select(["caption"]))["caption"].hash()  # type: ignore[index]
    return hashes.to_numpy() % np.uint64(buckets)


def slices_by_bucket(table: pa.Table, bucket_of: np.ndarray, buckets: int) -> Iterator[pa.RecordBatch]:
    """`buckets` record batches: the rows of bucket 0, of bucket 1, … each in the order of the table."""
    order = np.argsort(bucket_of, kind="stable")
    ends = np.searchsorted(bucket_of[order], np.arange(buckets + 1))
    ordered = table.take(pa.array(order)).combine_chunks()
    for start, end in pairwise(ends):
        piece = ordered.slice(start, end - start)
        yield from piece.to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]


def read_bucket(path: Path, bucket: int, buckets: int) -> pa.Table:
    """The rows of one bucket of a file that was written as the slices of one or more chunks."""
    with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as reader:
        batches = [reader.get_batch(number) for number in range(bucket, reader.num_record_batches, buckets)]
        return pa.Table.from_batches(batches, schema=reader.schema)
