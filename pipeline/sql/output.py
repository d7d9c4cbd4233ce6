"""Answers of DuckDB: as a table for people, or streamed as CSV, JSON lines or Parquet."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

ROWS_AT_ONCE = 100_000
SHOWN = 100  # rows of a table for people
WIDEST = 60  # characters of a cell in it


def as_table(answer: duckdb.DuckDBPyRelation, console: Console) -> int:
    """Prints the first rows; returns how many."""
    found = answer.limit(SHOWN + 1).to_arrow_table()
    table = Table(show_edge=False, pad_edge=False)
    numbers = [pa.types.is_integer(field.type) or pa.types.is_floating(field.type) for field in found.schema]
    for name, number in zip(found.column_names, numbers, strict=True):
        table.add_column(Text(name), justify="right" if number else "left", overflow="fold")
    for row in found.slice(0, SHOWN).to_pylist():
        table.add_row(*(Text(cell(one)) for one in row.values()))
    console.print(table)
    if found.num_rows > SHOWN:
        console.print(f"… the first {SHOWN} rows; all of them with --csv, --json or --parquet FILE", style="dim")
    return min(found.num_rows, SHOWN)


def cell(found: Any) -> str:
    """A value for people: grouped digits, one line, not too long; NULL as a dot."""
    if found is None:
        return "·"
    if isinstance(found, bool):
        return str(found).lower()
    if isinstance(found, int):
        return f"{found:,}"
    if isinstance(found, float):
        return f"{found:,.4g}" if abs(found) < 1000 else f"{found:,.1f}"
    text = " ".join((", ".join(map(str, found)) if isinstance(found, list) else str(found)).split())
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def as_csv(answer: duckdb.DuckDBPyRelation) -> None:
    """To standard output, with a header; lists become JSON."""
    reader = answer.to_arrow_reader(ROWS_AT_ONCE)
    schema = pa.schema([pa.field(f.name, pa.string() if pa.types.is_nested(f.type) else f.type) for f in reader.schema])
    with pa.csv.CSVWriter(sys.stdout.buffer, schema) as writer:
        for batch in reader:
            writer.write_batch(pa.record_batch([_flat(column) for column in batch.columns], schema=schema))


def as_json(answer: duckdb.DuckDBPyRelation) -> None:
    """To standard output, an object a line."""
    for batch in answer.to_arrow_reader(ROWS_AT_ONCE):
        for row in batch.to_pylist():
            print(json.dumps(row, ensure_ascii=False, default=str))


def as_parquet(answer: duckdb.DuckDBPyRelation, path: Path) -> int:
    """Writes a file, as a whole or not at all; returns its rows."""
    reader, rows = answer.to_arrow_reader(ROWS_AT_ONCE), 0
    written = path.with_name(f".{path.name}.part")
    try:
        with pq.ParquetWriter(written, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
                rows += batch.num_rows
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)
    return rows


def _flat(column: pa.Array) -> pa.Array:
    if not pa.types.is_nested(column.type):
        return column
    texts = [None if one is None else json.dumps(one, ensure_ascii=False, default=str) for one in column.to_pylist()]
    return pa.array(texts, pa.string())
