"""Reads Parquet, CSV and JSON lines as Arrow tables of raw columns, and names the rows that cannot be read."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from pipeline.sources.files import is_damage, open_file
from pipeline.sources.splits import Block, Split, Unreadable

BATCH_ROWS = 131_072
CSV_BLOCK_BYTES = 16 << 20
JSONL_LINES = 65_536


def read_table(split: Split, columns: Sequence[str]) -> Iterator[Block | Unreadable]:
    """The rows of a split, batch by batch, with the columns among `columns` that the file has (case ignored).

    Raises:
        OSError, ValueError: the file does not open, or ends in the middle.
    """
    reader = {"parquet": _read_parquet, "csv": _read_csv, "jsonl": _read_jsonl}[split.format]
    return reader(split, columns)


def _wanted(present: Sequence[str], columns: Sequence[str]) -> list[str]:
    lower = {column.lower() for column in columns}
    return [name for name in present if name.lower() in lower]


def _read_parquet(split: Split, columns: Sequence[str]) -> Iterator[Block | Unreadable]:
    with open_file(split.file) as handle:
        file = pq.ParquetFile(handle)
        names = _wanted(file.schema_arrow.names, columns)
        first = split.first_row
        for group in split.row_groups:
            rows = file.metadata.row_group(group).num_rows
            read = 0
            try:
                for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=names, use_threads=False):
                    yield Block(pa.Table.from_batches([batch]), first + read + np.arange(batch.num_rows))
                    read += batch.num_rows
            except (OSError, ValueError) as error:
                if not is_damage(error, split.file):
                    raise
                yield Unreadable(first + read, rows - read, "unreadable_row_group", f"row group {group}: {error}")
            first += rows


def _read_csv(split: Split, columns: Sequence[str]) -> Iterator[Block | Unreadable]:
    malformed: list[Unreadable] = []

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        detail = f"{row.actual_columns} columns instead of {row.expected_columns}: {row.text[:200]}"
        malformed.append(
            Unreadable(row.number - 2, 1, "malformed_row", detail)
        )  # numbers count from 1, header included
        return "skip"

    with open_file(split.file) as handle:
        names = _wanted(_csv_header(handle), columns)
        reader = pyarrow.csv.open_csv(
            handle,
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=names, column_types=dict.fromkeys(names, pa.binary()), strings_can_be_null=False
            ),
        )
        next_row = 0
        for batch in reader:
            bad = np.array([row.first_row for row in malformed], dtype=np.int64)
            positions = _positions(next_row, batch.num_rows, bad)
            next_row = int(positions[-1]) + 1 if len(positions) else next_row
            yield Block(pa.Table.from_batches([batch]), positions)
    yield from malformed


def _csv_header(handle: BinaryIO) -> list[str]:
    """The column names of a CSV file, which is then back at its beginning; a byte order mark is skipped."""
    first_line = handle.readline().removeprefix(b"\xef\xbb\xbf")
    if not first_line.strip():
        raise ValueError("the file is empty; expected a header line with the column names")
    handle.seek(0)
    return pyarrow.csv.read_csv(pa.BufferReader(first_line)).column_names


def _positions(first: int, count: int, bad: np.ndarray) -> np.ndarray:
    """The next `count` positions from `first` that are not in `bad`."""
    candidates = first + np.arange(count + int((bad >= first).sum()))
    return candidates[~np.isin(candidates, bad)][:count]


def _read_jsonl(split: Split, columns: Sequence[str]) -> Iterator[Block | Unreadable]:
    with open_file(split.file) as handle:
        first = 0
        while lines := list(itertools.islice(handle, JSONL_LINES)):
            filled = [(first + i, line) for i, line in enumerate(lines) if line.strip()]
            yield from _parse_lines(filled, columns)
            first += len(lines)


def _parse_lines(lines: list[tuple[int, bytes]], columns: Sequence[str]) -> Iterator[Block | Unreadable]:
    positions = np.array([position for position, _ in lines], dtype=np.int64)
    try:
        table = pyarrow.json.read_json(pa.BufferReader(b"".join(line.rstrip(b"\n") + b"\n" for _, line in lines)))
        if table.num_rows == len(lines):
            yield Block(table.select(_wanted(table.column_names, columns)), positions)
            return
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass  # one bad line spoils the block: look at each
    yield from _parse_each(lines, columns)


def _parse_each(lines: list[tuple[int, bytes]], columns: Sequence[str]) -> Iterator[Block | Unreadable]:
    wanted = {column.lower() for column in columns}
    rows, positions = [], []
    for position, line in lines:
        try:
            row = json.loads(line)
            rows.append({key: row[key] if row[key] is None else str(row[key]) for key in row if key.lower() in wanted})
            positions.append(position)
        except (ValueError, TypeError, AttributeError) as error:
            yield Unreadable(position, 1, "malformed_row", f"{error}: {line[:200].decode('utf-8', 'replace')}")
    names = sorted({name for row in rows for name in row})
    table = pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in names})
    if rows:
        yield Block(table, np.array(positions, dtype=np.int64))
