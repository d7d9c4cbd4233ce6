"""Answers of DuckDB: as a table for people, or streamed as CSV, JSON lines or Parquet."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from foundation.text import counted

ROWS_AT_ONCE = 100_000
SHOWN = 100  # rows of a table for people
RECORDS = 10  # rows that are shown one below the other, where a table would be too wide
WIDEST = 60  # characters of a cell of a table
LEAST = 14  # columns of a terminal that a text needs to be of use
BETWEEN = 3  # columns from one cell to the next
JOINER = "\u200d"  # makes one emoji of several; no other invisible character is printed as it is


def statements(
    connection: duckdb.DuckDBPyConnection, text: str
) -> Iterator[tuple[duckdb.DuckDBPyRelation | None, bool]]:
    """Runs one statement after the other: its answer (None where it has none), and whether it is the last.

    Raises:
        duckdb.Error: a statement is wrong; those before it have run.
    """
    parsed = connection.extract_statements(text)
    for number, statement in enumerate(parsed, 1):
        asks = duckdb.ExpectedResultType.QUERY_RESULT in statement.expected_result_type
        if not asks:
            connection.execute(statement)
        yield (connection.sql(statement) if asks else None), number == len(parsed)


def as_table(answer: duckdb.DuckDBPyRelation, console: Console) -> str:
    """Prints the first rows, one below the other where a table would be too wide; returns how many, in words."""
    first_rows = answer.limit(SHOWN + 1).to_arrow_table()
    numbers = [pa.types.is_integer(field.type) or pa.types.is_floating(field.type) for field in first_rows.schema]
    values = [column.to_pylist() for column in first_rows.slice(0, SHOWN).columns]
    cells = [[cell(content) for content in column] for column in values]
    rows = min(first_rows.num_rows, SHOWN)
    widths = _widths(first_rows.column_names, cells, numbers, console.width)
    if widths is not None:
        console.print(_table(first_rows.column_names, cells, numbers, widths))
        shown = rows
    else:
        shown = min(rows, RECORDS)
        _print_records(first_rows.column_names, values, shown, console)
    more = first_rows.num_rows > shown
    if more:
        console.print(f"… the first {shown} rows; all of them with --csv, --json or --parquet FILE", style="dim")
    return f"{'more than ' if more else ''}{counted(shown, 'row')}"


def cell(content: Any, longest: int | None = WIDEST) -> str:
    """A value for people: grouped digits, one line, not too long; NULL as a dot."""
    if content is None:
        return "·"
    if isinstance(content, bool):
        return str(content).lower()
    if isinstance(content, int):
        return f"{content:,}"
    if isinstance(content, float):
        return f"{content:,.4g}" if abs(content) < 1000 else f"{content:,.1f}"
    text = visible(" ".join((", ".join(map(str, content)) if isinstance(content, list) else str(content)).split()))
    return text if longest is None or len(text) <= longest else text[: longest - 1] + "…"


def visible(text: str) -> str:
    r"""Text without anything that a terminal would obey: escape sequences, and marks that turn the order of letters around.

    They come out as \x1b or \u202e.
    """
    if text.isprintable():
        return text
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    shown = character.isprintable() or character == JOINER
    return character if shown else character.encode("unicode_escape").decode()


def as_csv(answer: duckdb.DuckDBPyRelation, file: IO[bytes] | None = None) -> None:
    """With a header, to standard output unless a file is named; lists and structures become JSON."""
    reader = answer.to_arrow_reader(ROWS_AT_ONCE)
    schema = pa.schema([pa.field(f.name, f.type if _is_plain(f.type) else pa.string()) for f in reader.schema])
    with pa.csv.CSVWriter(file or sys.stdout.buffer, schema) as writer:
        for batch in reader:
            columns = [column if _is_plain(column.type) else _as_text(column) for column in batch.columns]
            writer.write_batch(pa.record_batch(columns, schema=schema))


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


def _table(names: Sequence[str], cells: list[list[str]], numbers: list[bool], widths: list[int]) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    for name, number in zip(names, numbers, strict=True):
        table.add_column(Text(name), justify="right" if number else "left", no_wrap=True)
    for row in zip(*cells, strict=True):
        table.add_row(*(_cut(text, width) for text, width in zip(row, widths, strict=True)))
    return table


def _widths(names: Sequence[str], cells: list[list[str]], numbers: list[bool], room: int) -> list[int] | None:
    """Widths of columns that fit into `room`, the widest texts cut first; None where they would be of no use."""
    heads = [cell_len(name) for name in names]
    natural = [max([head, *map(cell_len, column)]) for head, column in zip(heads, cells, strict=True)]
    least = [
        width if number else min(width, max(LEAST, head))
        for width, number, head in zip(natural, numbers, heads, strict=True)
    ]
    for widest in range(max(natural, default=0), 0, -1):
        widths = [max(low, min(width, widest)) for low, width in zip(least, natural, strict=True)]
        if sum(widths) + BETWEEN * (len(widths) - 1) <= room:
            return widths
        if widths == least:
            break
    return None


def _cut(text: str, width: int) -> Text:
    cut = Text(text)
    cut.truncate(width, overflow="ellipsis")
    return cut


def _print_records(names: Sequence[str], values: list[list[Any]], rows: int, console: Console) -> None:
    for row in range(rows):
        table = Table(show_header=False, show_edge=False, pad_edge=False, box=None)
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, column in zip(names, values, strict=True):
            table.add_row(Text(name), Text(cell(column[row], None)))
        console.rule(f"row {row + 1}", align="left", style="dim")
        console.print(table)


def _is_plain(kind: pa.DataType) -> bool:
    """Whether Arrow's CSV writer knows the type."""
    kinds = pa.types
    tests = (
        kinds.is_integer, kinds.is_floating, kinds.is_boolean, kinds.is_string, kinds.is_large_string, kinds.is_date,
        kinds.is_timestamp, kinds.is_null,
    )  # fmt: skip
    return any(test(kind) for test in tests)


def _as_text(column: pa.Array) -> pa.Array:
    nested = pa.types.is_nested(column.type)
    texts = [
        None if content is None else json.dumps(content, ensure_ascii=False, default=str) if nested else str(content)
        for content in column.to_pylist()
    ]
    return pa.array(texts, pa.string())
