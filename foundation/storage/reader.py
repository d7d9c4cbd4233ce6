"""Reading an object at random by few requests."""

from __future__ import annotations

from collections.abc import Callable

LEAST, MOST = (
    64 << 10,
    8 << 20,
)  # bytes of a request: of a first one anywhere, and of one in a long read from front to back


class Reader:
    """A file to read, as pyarrow's PythonFile takes it, over a function that gets a range of bytes.

    It reads ahead the more the longer the reading goes from front to back, as a disk's driver does: a footer of Parquet or an
    image of a tar costs one request of little more than its bytes, a scan few large ones. For one thread at a time: PythonFile
    sees to that.
    """

    def __init__(self, size: int, get: Callable[[int, int], bytes]) -> None:
        self.closed = False
        self._size, self._get = size, get
        self._at = 0
        self._buffer, self._start = b"", 0  # what was read last, and where it lies
        self._ahead = LEAST

    def read(self, count: int | None = -1) -> bytes:
        """The next bytes; all that are left where `count` is negative or None."""
        end = self._size if count is None or count < 0 else min(self._at + count, self._size)
        content = self._between(self._at, end) if end > self._at else b""
        self._at += len(content)
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place that is counted from the beginning, from here, or from the end."""
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def tell(self) -> int:
        """The place of the next byte."""
        return self._at

    def close(self) -> None:
        """Let go of what was read."""
        self.closed, self._buffer = True, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def flush(self) -> None:
        """Nothing is written."""

    def _between(self, start: int, end: int) -> bytes:
        held = self._start + len(self._buffer)
        if not self._start <= start <= held:
            self._buffer, self._start, self._ahead = b"", start, LEAST
            held = start
        if end > held:
            self._ahead = min(2 * self._ahead, MOST) if held > self._start else LEAST
            rest = self._get(held, min(max(end, held + self._ahead), self._size))
            self._buffer, self._start = self._buffer[start - self._start :] + rest, start
        return self._buffer[start - self._start : end - self._start]
