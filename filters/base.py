"""What a filter is: a small, validated piece of configuration that looks at a whole Arrow table at once.

A filter never drops a row. It answers, for every row and every reason it knows, whether the row is to be rejected; all
filters see all rows, so a rejected pair keeps all of its reasons.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

PAIR_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),  # name of the source in the recipe
        pa.field("file", pa.string(), nullable=False),  # the metadata file, as the recipe's glob resolved it
        pa.field("row", pa.int64(), nullable=False),  # position in that file, from 0
        pa.field("url", pa.string()),
        pa.field("caption", pa.string()),  # trimmed of white space
        pa.field("language", pa.string()),
        pa.field("similarity", pa.float32()),  # of the data set's own CLIP; not this project's score
        pa.field("width", pa.int32()),  # declared, pixels, already the right way round
        pa.field("height", pa.int32()),
        pa.field("punsafe", pa.float32()),  # probability, 0 to 1
        pa.field("pwatermark", pa.float32()),  # probability, 0 to 1
        pa.field("nsfw", pa.string()),
        pa.field("license", pa.string()),
        pa.field("english", pa.string()),  # what the caption is a translation of; several texts are joined by "; "
        pa.field("image_id", pa.string()),  # of the image, in the data set that it is from
        pa.field("coco_id", pa.int64()),  # of the image in MSCOCO, where it is one of its images
        pa.field("flickr_id", pa.int64()),  # of the photo on Flickr
    ]
)
"""The canonical columns of a pair, whatever its source. Only source, file and row are never null."""

MAX_REASONS = 63


def value(default: Any, description: str, unit: str = "", **bounds: Any) -> Any:
    """A recipe value: a pydantic field whose default, description and unit `zhclip recipe show` prints."""
    return Field(default, description=description, json_schema_extra={"unit": unit}, **bounds)


class Config(BaseModel):
    """A part of a recipe: immutable, and closed against misspelt keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Filter(Config):
    """One decision about pairs. Subclasses declare `reasons` and `columns` and answer in `rejects`."""

    reasons: ClassVar[tuple[str, ...]] = ()  # the reason codes this filter can give, as they appear in the ledger
    columns: ClassVar[tuple[str, ...]] = ()  # the columns of PAIR_SCHEMA that it reads
    optional_columns: ClassVar[tuple[str, ...]] = ()  # further columns, read where the table has them
    needs_all_captions: ClassVar[bool] = False  # True: all rows with an equal caption must be in one table

    @abstractmethod
    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """For each of `reasons`, a mask of `pairs.num_rows` booleans without nulls: True where the row is rejected.

        A null input value is never an error; each filter documents how it takes one.
        """

    def split(self, pairs: pa.Table) -> tuple[pa.Table, pa.Table]:
        """The kept rows, and the rejected rows with a `reasons` column (list of strings)."""
        return split(pairs, [self])


def reasons_of(filters: Sequence[Filter]) -> tuple[str, ...]:
    """All reason codes of `filters`, in order; the position of a reason is its bit in `judge`'s answer."""
    names = tuple(reason for one in filters for reason in one.reasons)
    if len(set(names)) < len(names) or len(names) > MAX_REASONS:
        raise ValueError(f"reasons must be unique and at most {MAX_REASONS}: {names}")
    return names


def judge(filters: Sequence[Filter], pairs: pa.Table) -> np.ndarray:
    """uint64 array of `pairs.num_rows`: bit i is set where reason i of `reasons_of(filters)` rejects the row."""
    bits = np.zeros(pairs.num_rows, dtype=np.uint64)
    position = 0
    for one in filters:
        extra = [name for name in one.optional_columns if name in pairs.column_names]
        masks = one.rejects(pairs.select([*one.columns, *extra]))
        for reason in one.reasons:
            bits |= as_numpy(masks[reason]).astype(np.uint64) << np.uint64(position)
            position += 1
    return bits


def as_numpy(mask: pa.BooleanArray | pa.ChunkedArray) -> np.ndarray:
    """A bool array of an Arrow mask; nulls count as False."""
    return np.asarray(pc.fill_null(mask, False).to_numpy(zero_copy_only=False), dtype=bool)


def decode_reasons(bits: np.ndarray, names: Sequence[str]) -> pa.ListArray:
    """`bits` as lists of reason names. Few distinct combinations occur, so each is spelt out once."""
    combinations, inverse = np.unique(bits, return_inverse=True)
    spelt = [[name for i, name in enumerate(names) if int(combination) >> i & 1] for combination in combinations]
    return pa.array(spelt, pa.list_(pa.string())).take(pa.array(inverse))


def split(pairs: pa.Table, filters: Sequence[Filter]) -> tuple[pa.Table, pa.Table]:
    """The rows no filter rejects, and the rejected ones with all of their reasons in a `reasons` column."""
    bits = judge(filters, pairs)
    rejected = pairs.filter(pa.array(bits != 0))
    reasons = decode_reasons(bits[bits != 0], reasons_of(filters))
    return pairs.filter(pa.array(bits == 0)), rejected.append_column("reasons", reasons)


def differences(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """Lines `place: old → new` for every value in which two plain structures differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from differences(old.get(key), new.get(key), f"{place}.{key}" if place else str(key))
    elif old != new:
        yield f"{place}: {_short(old)} → {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "…"
