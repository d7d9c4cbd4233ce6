"""From raw columns to those of a pair (PAIR_SCHEMA): names and types, whatever the file holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foundation.errors import InvalidInput
from foundation.pairs import PAIR_SCHEMA


class MissingColumns(InvalidInput, ValueError):
    """A file without the columns that make a pair."""


def canonical_pairs(
    raw: pa.Table,
    column_names: Mapping[str, str],
    required: Sequence[str],
    source: str,
    file: str,
    positions: np.ndarray,
) -> pa.Table:
    """Pairs (PAIR_SCHEMA) of raw rows; a value that does not fit its column's type becomes null.

    Args:
        column_names: pair column → column of `raw`, case ignored; a column that `raw` lacks is all null.
        required: pair columns that `raw` must have.
        positions: int64 [raw.num_rows], each row's position in `file`.

    Raises:
        MissingColumns: `raw` lacks a required column.
    """
    present = {column.lower(): column for column in raw.column_names}
    required_names = [column_names.get(column, column) for column in required]
    missing = [name for name in required_names if name.lower() not in present]
    if missing:
        raise MissingColumns(
            f"no column {', '.join(missing)}; the file has {', '.join(raw.column_names) or 'none of those asked for'}"
        )
    columns = {
        "source": pa.repeat(pa.scalar(source), raw.num_rows),
        "file": pa.repeat(pa.scalar(file), raw.num_rows),
        "row": pa.array(positions, pa.int64()),
    }
    for field in PAIR_SCHEMA:
        if field.name not in columns:
            column = present.get(column_names.get(field.name, "").lower())
            columns[field.name] = _typed(raw[column], field.type) if column else pa.nulls(raw.num_rows, field.type)
    for text in ("url", "caption"):
        columns[text] = pc.utf8_trim_whitespace(columns[text])
    return pa.table(columns, schema=PAIR_SCHEMA)


def to_text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Strings of any column; bytes that are not UTF-8 become U+FFFD rather than an error."""
    if pa.types.is_string(values.type):
        return values
    try:
        return pc.cast(values, pa.string())
    except pa.ArrowInvalid:
        decoded = [None if value is None else value.decode("utf-8", "replace") for value in values.to_pylist()]
        return pa.chunked_array([pa.array(decoded, pa.string())])


def trimmed_column(raw: pa.Table, name: str) -> pa.Array:
    """A column as strings without white space around them, empty ones null; all null where there is no such column.

    The case of `name` is ignored.
    """
    column = next((column for column in raw.column_names if column.lower() == name.lower()), None)
    if column is None:
        return pa.nulls(raw.num_rows, pa.string())
    trimmed = pc.utf8_trim_whitespace(to_text(raw[column]).combine_chunks())
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)


def as_singleton_lists(texts: pa.Array) -> pa.ListArray:
    """A list of one text (which may be null) for each of `texts`."""
    return pa.ListArray.from_arrays(pa.array(np.arange(len(texts) + 1), pa.int32()), texts)


def _typed(values: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_string(wanted):
        return to_text(values)
    numbers = _numbers(values)
    if pa.types.is_floating(wanted):
        return pc.cast(numbers, wanted)
    largest = 2**31 - 1 if pa.types.is_int32(wanted) else 2**53
    in_range = pc.and_(pc.greater_equal(numbers, 0), pc.less_equal(numbers, largest))  # False for NaN
    return pc.cast(pc.round(pc.if_else(in_range, numbers, None)), wanted)


def _numbers(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """float64 of a column of any type; text that is no number becomes null."""
    if not (pa.types.is_string(values.type) or pa.types.is_binary(values.type)):
        return pc.cast(values, pa.float64(), safe=False)
    text = pc.utf8_trim_whitespace(to_text(values))
    numeric = pc.match_substring_regex(text, r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
    return pc.cast(pc.if_else(numeric, text, None), pa.float64())
