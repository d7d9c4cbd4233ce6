"""Sources whose files are tables: Parquet, CSV or JSON lines, one row a pair."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow.parquet as pq

from pipeline.sources.base import Source
from pipeline.sources.files import open_file
from pipeline.sources.readers import read_table
from pipeline.sources.splits import Block, Split, Unreadable


class TabularSource(Source):
    """A source of tables. Parquet is divided by its row groups; another file is one split."""

    def file_format(self, file: str) -> str:
        """parquet, csv or jsonl, by the file's name."""
        return format_of(file)

    def split_file(self, name: str, file: str, rows_per_split: int) -> Iterator[Split]:
        """Row groups of about `rows_per_split` rows; of CSV and JSON lines, the file."""
        if self.file_format(file) == "parquet":
            return _parquet_splits(name, file, rows_per_split)
        return super().split_file(name, file, rows_per_split)

    def read_split(self, split: Split) -> Iterator[Block | Unreadable]:
        """The columns that make pairs, as the file has them."""
        return read_table(split, list(self.column_names().values()))


def format_of(file: str) -> str:
    """parquet, csv or jsonl, by the name of the file (packed or not); csv where the name says nothing."""
    name = file.lower()
    for ending in (".gz", ".bz2", ".xz", ".zst"):
        name = name.removesuffix(ending)
    if name.endswith((".parquet", ".parq")):
        return "parquet"
    return "jsonl" if name.endswith((".jsonl", ".ndjson", ".json")) else "csv"


def _parquet_splits(source: str, file: str, rows_per_split: int) -> Iterator[Split]:
    with open_file(file) as handle:
        metadata = pq.ParquetFile(handle).metadata
    sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    groups: list[int] = []
    first, rows = 0, 0
    for group, size in enumerate(sizes):
        if groups and rows + size > rows_per_split:
            yield Split(source, file, "parquet", first, rows, rows, tuple(groups))
            first, groups, rows = first + rows, [], 0
        groups.append(group)
        rows += size
    if groups:
        yield Split(source, file, "parquet", first, rows, rows, tuple(groups))
