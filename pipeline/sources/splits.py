"""What one reading task takes on: a file, or some row groups of one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from pipeline.sources.files import find_files, is_damage, open_file, size_of
from pipeline.sources.json_items import JsonItems

GUESSED_BYTES_PER_ROW = 150  # of CSV, JSONL and lines, only to choose the number of buckets
JSON_FORMATS = {"coco": ("images", "annotations"), "visual_genome_joined": ("",), "visual_genome_regions": ("",)}
"""Format → the arrays that its files must have (an outermost array has no name); the items of the last are read."""


@dataclass(frozen=True)
class Split:
    """A piece of one metadata file."""

    source: str
    file: str
    format: str  # parquet, csv, jsonl, coco_cn, or one of JSON_FORMATS
    first_row: int  # position in the file of the first row, from 0
    rows: int | None  # None: not known before reading
    guessed_rows: int
    row_groups: tuple[int, ...] = ()  # Parquet only
    start: int = 0  # JSON only: the byte from which its items are read
    problem: str = ""  # why the file, or the rest of it, cannot be read

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
        if format_name in JSON_FORMATS:
            yield from json_splits(source, file, format_name, rows_per_split)
        elif format_name != "parquet":
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


def json_splits(source: str, file: str, format_name: str, rows_per_split: int) -> Iterator[Split]:
    """Splits of a COCO or Visual Genome file: about `rows_per_split` texts each, so that a split is little to translate.

    The file is read through once. Where it is damaged, what comes before makes splits, and one with a `problem` ends them.
    """
    pieces: list[list[int]] = []
    problem = ""
    try:
        with open_file(file) as handle:
            _measure(JsonItems(handle), format_name, rows_per_split, pieces)
    except (OSError, ValueError) as error:
        if not is_damage(error, file):
            raise
        problem = f"{type(error).__name__}: {error}"
    first = 0
    for rows, start in pieces:
        if rows:
            yield Split(source, file, format_name, first, rows, rows, start=start)
        first += rows
    if problem:
        yield Split(source, file, format_name, first, None, 0, problem=problem)


def _measure(reader: JsonItems, format_name: str, texts_per_piece: int, pieces: list[list[int]]) -> None:
    """Adds [rows, first byte] of each piece of a file to `pieces`; ValueError where the file ends them by damage."""
    needed, seen = JSON_FORMATS[format_name], []
    for name, items in reader.arrays():
        seen.append(name)
        if name != needed[-1]:
            continue
        pieces.append([0, reader.offset])
        texts = 0
        for item in items:
            rows, more = contents(item, format_name)
            pieces[-1][0], texts = pieces[-1][0] + rows, texts + more
            if texts >= texts_per_piece:
                pieces.append([0, reader.offset])
                texts = 0
    if missing := sorted(set(needed) - set(seen)):
        raise ValueError(f"expected an array {missing}; the file has {seen or 'none'}")


def contents(item: Any, format_name: str) -> tuple[int, int]:
    """How many rows, and how many texts, one item of a JSON file makes; what is no such item makes a malformed row."""
    regions = item.get("regions") if isinstance(item, dict) else None
    if format_name == "coco" or not isinstance(regions, list):
        return 1, 1
    return (1, len(regions)) if format_name == "visual_genome_joined" else (len(regions), len(regions))
