"""From raw columns to canonical pairs (filters.base.PAIR_SCHEMA): names, types, and each data set's oddities."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foundation.errors import InvalidInput
from foundation.pairs import PAIR_SCHEMA
from pipeline.sources.config import ImageSetSource, LaionSource, Source, TableSource
from pipeline.sources.readers import to_text

LAION_COLUMNS = {
    "url": "URL",
    "caption": "TEXT",
    "language": "LANGUAGE",
    "similarity": "similarity",
    "width": "WIDTH",
    "height": "HEIGHT",
    "punsafe": "punsafe",
    "pwatermark": "pwatermark",
    "nsfw": "NSFW",
    "license": "LICENSE",
}
WUKONG_COLUMNS = {"url": "url", "caption": "caption"}
IMAGE_SET_COLUMNS = {
    name: name for name in ("url", "caption", "width", "height", "image_id", "coco_id", "flickr_id")
}  # their readers know the pair's columns


class MissingColumns(InvalidInput, ValueError):
    """A file without the columns that make a pair."""


def column_mapping(source: Source) -> Mapping[str, str]:
    """Pair column → column in the source's files."""
    if isinstance(source, TableSource):
        return source.columns
    if isinstance(source, ImageSetSource):
        return IMAGE_SET_COLUMNS
    return LAION_COLUMNS if isinstance(source, LaionSource) else WUKONG_COLUMNS


def to_pairs(raw: pa.Table, source: Source, name: str, file: str, positions: np.ndarray) -> pa.Table:
    """Canonical pairs of a batch of raw rows; values that do not fit a column's type become null.

    Raises:
        MissingColumns: the file has no url or no caption column (no English one where it is to be translated).
    """
    mapping = column_mapping(source)
    present = {column.lower(): column for column in raw.column_names}
    missing = [column for column in _needed(source) if mapping.get(column, column).lower() not in present]
    missing = [mapping.get(column, column) for column in missing]
    if missing:
        raise MissingColumns(
            f"no column {', '.join(missing)}; the file has {', '.join(raw.column_names) or 'none of those asked for'}"
        )
    columns = {
        "source": pa.repeat(pa.scalar(name), raw.num_rows),
        "file": pa.repeat(pa.scalar(file), raw.num_rows),
        "row": pa.array(positions, pa.int64()),
    }
    for field in PAIR_SCHEMA:
        if field.name not in columns:
            column = present.get(mapping.get(field.name, "").lower())
            columns[field.name] = _typed(raw[column], field.type) if column else pa.nulls(raw.num_rows, field.type)
    for text in ("url", "caption"):
        columns[text] = pc.utf8_trim_whitespace(columns[text])
    if _is_swapped(source, present):
        columns["width"], columns["height"] = columns["height"], columns["width"]
    return pa.table(columns, schema=PAIR_SCHEMA)


def _needed(source: Source) -> tuple[str, ...]:
    if isinstance(source, ImageSetSource):
        return ("url",)
    return ("url", "english") if isinstance(source, TableSource) and source.translation else ("url", "caption")


def in_scope(pairs: pa.Table, source: Source) -> np.ndarray | None:
    """Which rows belong to the source's languages; None: all of them."""
    if not isinstance(source, LaionSource) or not source.languages:
        return None
    wanted = pc.is_in(pairs["language"], pa.array(source.languages))
    return np.asarray(wanted.to_numpy(zero_copy_only=False), dtype=bool)


def _is_swapped(source: Source, present: Mapping[str, str]) -> bool:
    """laion2B-multi's raw files hold the height in WIDTH; the joined ones (with punsafe) do not."""
    if not isinstance(source, LaionSource):
        return False
    return "punsafe" not in present if source.swapped_size is None else source.swapped_size


def _typed(values: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_string(wanted):
        return to_text(values)
    numbers = _numbers(values)
    if pa.types.is_floating(wanted):
        return pc.cast(numbers, wanted)
    most = 2**31 - 1 if pa.types.is_int32(wanted) else 2**53  # False for NaN
    in_range = pc.and_(pc.greater_equal(numbers, 0), pc.less_equal(numbers, most))
    return pc.cast(pc.round(pc.if_else(in_range, numbers, None)), wanted)


def _numbers(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """float64 of a column of any type; text that is no number becomes null."""
    if not (pa.types.is_string(values.type) or pa.types.is_binary(values.type)):
        return pc.cast(values, pa.float64(), safe=False)
    text = pc.utf8_trim_whitespace(to_text(values))
    numeric = pc.match_substring_regex(text, r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
    return pc.cast(pc.if_else(numeric, text, None), pa.float64())
