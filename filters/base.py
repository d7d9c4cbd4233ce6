"""The base of every filter: a small, validated piece of configuration that reads a whole Arrow table at once.

A filter never drops a row. It answers, for every row and every reason it knows, whether the row is to be rejected; all
filters see all rows, so a rejected pair keeps all of its reasons.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foundation.config import Config

Scope = Literal["row", "caption_group"]
MAX_REASONS = 63


class Filter(Config):
    """One question about pairs. Subclasses declare `reasons` and `columns` and answer in `rejects`."""

    reasons: ClassVar[Mapping[str, str]] = {}  # each reason code it can give, as in the ledger → what the code says
    columns: ClassVar[tuple[str, ...]] = ()  # the columns of PAIR_SCHEMA that it reads
    optional_columns: ClassVar[tuple[str, ...]] = ()  # further columns, read where the table has them
    scope: ClassVar[Scope] = "row"  # caption_group: all rows with an equal caption must be in one table

    @abstractmethod
    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """For each of `reasons`, a mask of `pairs.num_rows` booleans without nulls: True where the row is rejected.

        A null input value is never an error; each filter documents how it takes one.
        """

    def split(self, pairs: pa.Table) -> tuple[pa.Table, pa.Table]:
        """The kept rows, and the rejected rows with a `reasons` column (list of strings)."""
        return split(pairs, [self])


def reasons_of(filters: Sequence[Filter]) -> tuple[str, ...]:
    """All reason codes of `filters`, in order; the position of a reason is its bit in `reason_bits`'s answer."""
    names = tuple(reason for rule in filters for reason in rule.reasons)
    if len(set(names)) < len(names) or len(names) > MAX_REASONS:
        raise ValueError(f"reasons must be unique and at most {MAX_REASONS}: {names}")
    return names


def reason_bits(filters: Sequence[Filter], pairs: pa.Table) -> np.ndarray:
    """uint64 array of `pairs.num_rows`: bit i is set where reason i of `reasons_of(filters)` rejects the row."""
    bits = np.zeros(pairs.num_rows, dtype=np.uint64)
    position = 0
    for rule in filters:
        extra = [name for name in rule.optional_columns if name in pairs.column_names]
        masks = rule.rejects(pairs.select([*rule.columns, *extra]))
        for reason in rule.reasons:
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
    bits = reason_bits(filters, pairs)
    rejected = pairs.filter(pa.array(bits != 0))
    reasons = decode_reasons(bits[bits != 0], reasons_of(filters))
    return pairs.filter(pa.array(bits == 0)), rejected.append_column("reasons", reasons)
