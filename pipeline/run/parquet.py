"""Parquet as every file of a run has it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from foundation.storage import StorageError

ROWS_OF_GROUP = 131_072
FEW_VALUES = {"source", "file", "stage", "outcome", "reasons", "language", "nsfw", "license"}


def write_parquet(table: pa.Table, path: Path) -> None:
    """Parquet as every file of a run: zstd, and nothing in it that differs between two runs on the same input.

    Raises:
        StorageError: the disk of `path` does not take it.
    """
    coded = [field.name for field in table.schema if field.name in FEW_VALUES or _text_with_nulls(table, field)]
    try:
        pq.write_table(table, path, compression="zstd", use_dictionary=coded, row_group_size=ROWS_OF_GROUP)
    except OSError as error:
        first = error.__context__ if isinstance(error.__context__, OSError) else error  # closing it may fail as well
        message = f"{path} cannot be written: {first}; make room there, then run the same command again"
        raise StorageError(message, first.errno) from error


def parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """The same for a table that is made in pieces, of at most ROWS_OF_GROUP rows each: a context manager, each piece one
    `write_table`. Text that may be null counts as text that has nulls."""
    coded = [field.name for field in schema if field.name in FEW_VALUES or (_is_text(field) and field.nullable)]
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=coded)


def _text_with_nulls(table: pa.Table, field: pa.Field) -> bool:
    """Such columns get a dictionary: DuckDB 2.0 counts wrongly `where error is null` of plainly coded ones in which all
    texts are the same."""
    return bool(_is_text(field) and table[field.name].null_count)


def _is_text(field: pa.Field) -> bool:
    return bool(pa.types.is_string(field.type))
