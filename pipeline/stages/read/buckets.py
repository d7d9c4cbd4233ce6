"""Rows in buckets, in one Arrow IPC file: record batch i belongs to bucket i modulo the number of buckets.

So any bucket of any file is read by seeking, and a writer holds one chunk of rows at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from foundation.lazy import polars as pl


class BucketWriter:
    """Writes chunks of rows, each as one record batch per bucket, with lz4."""

    def __init__(self, path: Path, schema: pa.Schema, buckets: int) -> None:
        self._buckets = buckets
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._sink, schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
        self._sink.close()

    def write(self, rows: pa.Table, bucket_of: np.ndarray) -> None:
        """One chunk; `bucket_of` (integers [rows.num_rows]) is each row's bucket. Within a bucket the order stays."""
        for batch in _batch_per_bucket(rows, bucket_of, self._buckets):
            self._writer.write_batch(batch)


def read_bucket(file: pa.NativeFile, bucket: int, buckets: int) -> pa.Table:
    """The rows of one of `buckets` buckets of a file of BucketWriter, chunk after chunk; closes the file."""
    with file, pa.ipc.open_file(file) as reader:
        batches = [reader.get_batch(number) for number in range(bucket, reader.num_record_batches, buckets)]
        return pa.Table.from_batches(batches, schema=reader.schema)


def caption_buckets(pairs: pa.Table, buckets: int) -> np.ndarray:
    """uint64 [pairs.num_rows]: buckets by the hash of the caption, so that equal captions meet, whatever their source."""
    hashes = pl.from_arrow(pairs.select(["caption"]))["caption"].hash()  # type: ignore[index]
    return hashes.to_numpy() % np.uint64(buckets)


def _batch_per_bucket(rows: pa.Table, bucket_of: np.ndarray, buckets: int) -> Iterator[pa.RecordBatch]:
    order = np.argsort(bucket_of, kind="stable")
    ends = np.searchsorted(bucket_of[order], np.arange(buckets + 1))
    ordered = rows.take(pa.array(order)).combine_chunks()
    for start, end in pairwise(ends):
        piece = ordered.slice(start, end - start)
        yield from piece.to_batches() or [pa.RecordBatch.from_pylist([], schema=rows.schema)]
