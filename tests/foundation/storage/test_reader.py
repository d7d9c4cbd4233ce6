"""Reading an object at random: the bytes are right, and requests are few."""

from __future__ import annotations

import io
import random

import numpy as np

from foundation.storage.reader import MOST, Reader


class Counted:
    """Bytes that are got by ranges, and which ranges those were."""

    def __init__(self, size: int) -> None:
        self.content = np.random.default_rng(0).bytes(size)
        self.ranges: list[tuple[int, int]] = []

    def get(self, start: int, end: int) -> bytes:
        assert 0 <= start < end <= len(self.content)
        self.ranges.append((start, end))
        return self.content[start:end]

    def reader(self) -> Reader:
        return Reader(len(self.content), self.get)


def test_it_reads_what_a_file_reads() -> None:
    generator = random.Random(5)
    for size in (0, 1, 1000, 300_000):
        source = Counted(size)
        reader, file = source.reader(), io.BytesIO(source.content)
        for _ in range(400):
            whence = generator.randrange(3)
            offset = generator.choice([0, 1, generator.randint(0, size + 10), generator.randint(0, 100)])
            if whence == 2:
                offset = -min(offset, size)
            assert reader.seek(offset, whence) == file.seek(offset, whence)
            count = generator.choice([0, 1, 100, 70_000, size, -1, None])
            assert reader.read(count) == file.read(count)
            assert reader.tell() == file.tell()


def test_a_scan_is_few_requests_and_reads_nothing_twice() -> None:
    source = Counted(100 << 20)
    reader = source.reader()
    while reader.read(50_000):
        pass
    assert len(source.ranges) < 25 and max(end - start for start, end in source.ranges) <= MOST
    assert [start for start, _ in source.ranges] == [0, *(end for _, end in source.ranges[:-1])]


def test_a_small_read_anywhere_is_one_small_request() -> None:
    source = Counted(100 << 20)
    reader = source.reader()
    for number in range(50):
        reader.seek((number * 37 % 50) * 2_000_000)
        reader.read(20_000)
    assert len(source.ranges) == 50 and max(end - start for start, end in source.ranges) == 64 << 10


def test_a_large_read_is_one_request() -> None:
    source = Counted(30 << 20)
    assert source.reader().read() == source.content
    assert source.ranges == [(0, 30 << 20)]
