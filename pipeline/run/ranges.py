"""Many ranges of bytes of a file, such as the images of a tar, in few reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from foundation.storage import Storage

SPAN = 8 << 20  # bytes read at a time: what an object store gives at full speed, and what memory holds
GAP = 1 << 16  # bytes between two ranges that are read rather than asked for anew


def read_ranges(storage: Storage, name: str, offsets: Iterable[int], lengths: Iterable[int]) -> Iterator[bytes]:
    """The bytes [offset, offset + length) of a file, in the order given; ascending ranges share a read.

    Raises:
        FileNotFoundError: there is no such file, or it ends before a range does.
    """
    group: list[tuple[int, int]] = []
    for offset, length in zip(offsets, lengths, strict=True):
        if group and not (sum(group[-1]) <= offset <= sum(group[-1]) + GAP and offset + length - group[0][0] <= SPAN):
            yield from _read(storage, name, group)
            group = []
        group.append((offset, length))
    if group:
        yield from _read(storage, name, group)


def _read(storage: Storage, name: str, group: list[tuple[int, int]]) -> Iterator[bytes]:
    start, end = group[0][0], sum(group[-1])
    content = storage.read(name, start, end)
    if len(content) < end - start:
        raise FileNotFoundError(f"{storage.address}/{name} ends before byte {end:,}")
    for offset, length in group:
        yield content[offset - start : offset - start + length]
