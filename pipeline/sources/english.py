"""The English texts of a source's rows, as a translator takes them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.config import ImageSetSource, Source, TableSource
from pipeline.sources.readers import Block, to_text
from pipeline.sources.rows import read_rows
from pipeline.sources.splits import Split


def english_of(split: Split, source: Source) -> Iterator[tuple[np.ndarray, pa.Array]]:
    """(positions, texts) of the rows of a split that can be read, batch by batch, in file order.

    positions: int64 [n], rows of the file. texts: list<string> [n]; a list is one caption, or the phrases of an image; a
    text may be null. Nothing comes of a source that has no English.
    """
    for block in read_rows(split, source):
        if isinstance(block, Block) and (texts := texts_of(block.table, source)) is not None:
            yield block.positions, texts


def texts_of(raw: pa.Table, source: Source) -> pa.ListArray | None:
    """The English texts of raw rows, list<string>; None for rows without any, such as Chinese captions."""
    if isinstance(source, ImageSetSource):
        return raw["texts"].combine_chunks() if "texts" in raw.column_names else None
    if not isinstance(source, TableSource) or source.translation is None:
        return None
    return _one_each(_column(raw, source, "english"))


def ids_of(raw: pa.Table, source: Source) -> list[pa.ListArray]:
    """What files of translations may call the texts of `texts_of`: lists of the same lengths, the first id to try first."""
    if isinstance(source, ImageSetSource):
        return [raw[name].combine_chunks() for name in ("text_ids", "text_names") if name in raw.column_names]
    return [_one_each(_column(raw, source, "image_id"))]


def _column(raw: pa.Table, source: Source, name: str) -> pa.Array:
    """A string column of a table's file, trimmed; nulls where the file has no such column."""
    assert isinstance(source, TableSource)
    wanted = source.columns.get(name, "").lower()
    found = next((column for column in raw.column_names if column.lower() == wanted), None)
    if found is None:
        return pa.nulls(raw.num_rows, pa.string())
    whole = to_text(raw[found]).combine_chunks()
    trimmed = pc.utf8_trim_whitespace(whole)
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)


def _one_each(texts: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.arange(len(texts) + 1), pa.int32()), texts)
