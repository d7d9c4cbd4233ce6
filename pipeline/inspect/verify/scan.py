"""A tar read from its beginning to its end, hashed on the way, in pieces that hold complete pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pipeline.inspect.verify.reading import PIECE, Stream

if TYPE_CHECKING:
    from hashlib import _Hash

ROWS = 2048  # pairs whose members are made at a time


class Scan:
    """Reads on, and hashes what it reads."""

    def __init__(self, stream: Stream, digest: _Hash) -> None:
        self._stream = stream
        self._digest = digest

    def read(self, size: int) -> bytes:
        """The next bytes; fewer where the file ends before."""
        content = self._stream.read(size)
        self._digest.update(content)
        return content

    def zeros_to_end(self) -> int | None:
        """Reads the rest: how many bytes that is; None where one of them is not 0."""
        total, zeros = 0, True
        while content := self.read(PIECE):
            total += len(content)
            zeros = zeros and content.count(0) == len(content)
        return total if zeros else None


def pieces(steps: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges [first, end) of rows whose bytes together are about PIECE.

    Args:
        steps: int64 (n,), bytes that each row takes in the tar.
    """
    ends = np.cumsum(steps)
    first = 0
    while first < len(steps):
        before = int(ends[first - 1]) if first else 0
        end = int(np.searchsorted(ends, before + PIECE, side="right"))
        end = min(max(end, first + 1), len(steps))
        yield first, end
        first = end
