"""What one reading task takes on: a file, or some row groups of one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from pipeline.sources.files import find_files, is_damage, open_file, size_of

GUESSED_BYTES_PER_ROW = 150  # of CSV and JSONL, only to choose the number of buckets


@dataclass(frozen=True)
class Split:
    """A piece of one metadata file."""

    source: str
    file: str
    format: str  # parquet, csv or jsonl
    first_row: int  # position in the file of the first row, from 0
    rows: int | None  # None: not known before reading
    guessed_rows: int
    row_groups: tuple[int, ...] = ()  # Parquet only
    problem: str = ""  # why the file cannot even be opened

    @staticmethod
    def from_json(content: dict[str, Any]) -> Split:
        """The inverse of `dataclasses.asdict` through JSON."""
        return Split(**{**content, "row_groups": tuple(content["row_groups"])})


def list_splits(source: str, patterns: tuple[str, ...], format_name: str | None, rows_per_split: int) -> list[Split]:
    """All splits of a source, in the order of its files.

    A file that cannot be opened becomes a split with a `problem`; it stops nothing else.

    Raises:
        NoSuchFiles: a pattern matches nothing.
    """
    files = find_files(patterns)
    with ThreadPoolExecutor(16) as pool:
        found = pool.map(
            lambda file: list(_splits_of(source, file, format_name or format_of(file), rows_per_split)), files
        )
        return [split for splits in found for split in splits]


def format_of(file: str) -> str:
    """parquet, csv or jsonl, by the name of the file (packed or not); csv where the name says nothing."""
    name = file.lower()
    for ending in (".gz", ".bz2", ".xz", ".zst"):
        name = name.removesuffix(ending)
    if name.endswith((".parquet", ".parq")):
        return "parquet"
    return "jsonl" if name.endswith((".jsonl", ".ndjson", ".json")) else "csv"


def _splits_of(source: str, file: str, format_name: str, rows_per_split: int) -> Iterator[Split]:
    try:
        if format_name != "parquet":
            yield Split(source, file, format_name, 0, None, size_of(file) // GUESSED_BYTES_PER_ROW)
        else:
            yield from _parquet_splits(source, file, rows_per_split)
    except (OSError, ValueError) as error:  # pyarrow's errors are both
        if not is_damage(error, file):
            raise
        yield Split(source, file, format_name, 0, None, 0, problem=f"{type(error).__name__}: {error}")


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
