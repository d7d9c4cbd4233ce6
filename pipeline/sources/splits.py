"""What one reading task takes on, a split of a file, and what it gives: blocks of rows, and what could not be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.sources.files import is_damage

UNREADABLE_REASONS = {
    "malformed_row": "the row does not have the form that its file's format asks for",
    "unreadable_row_group": "a row group of a Parquet file cannot be read; the others are",
    "unreadable_file": "the file does not open, ends early, or holds a block that cannot be read",
}
"""Why rows of metadata cannot be read: the reason codes of all sources, and what they mean."""


@dataclass(frozen=True)
class Split:
    """A piece of one metadata file."""

    source: str
    file: str
    format: str  # as the source's `file_format` says
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


@dataclass(frozen=True)
class Block:
    """Rows that were read: raw columns, and each row's position in its file (int64)."""

    table: pa.Table
    positions: np.ndarray


@dataclass(frozen=True)
class Unreadable:
    """Rows, or a whole file, that could not be read."""

    first_row: int
    rows: int | None  # None: nobody can tell how many
    reason: str  # a key of UNREADABLE_REASONS
    detail: str


def guarded(split: Split, pieces: Iterable[Block | Unreadable]) -> Iterator[Block | Unreadable]:
    """`pieces` of a split as they are read, without empty blocks.

    What ends them early because the file is damaged becomes an Unreadable.

    Raises:
        OSError: a remote file system does not answer.
    """
    if split.problem:
        yield Unreadable(split.first_row, split.rows, "unreadable_file", split.problem)
        return
    next_row = split.first_row
    try:
        for piece in pieces:
            if isinstance(piece, Block):
                if len(piece.positions) == 0:
                    continue
                next_row = int(piece.positions[-1]) + 1
            yield piece
    except (OSError, ValueError, KeyError) as error:  # pyarrow's own errors derive from these
        if not is_damage(error, split.file):
            raise
        left = None if split.rows is None else split.first_row + split.rows - next_row
        yield Unreadable(next_row, left, "unreadable_file", f"{type(error).__name__}: {error}")
