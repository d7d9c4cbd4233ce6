"""Parquet that a disk does not take."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from foundation.storage import StorageError
from pipeline.run.parquet import write_parquet


@pytest.fixture
def limited() -> Iterator[None]:
    """No file of this process grows beyond 2,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize("rows", [1_000, 100_000])
def test_a_file_that_finds_no_room_is_named_in_a_sentence(tmp_path: Path, rows: int) -> None:
    table = pa.table({"key": [f"{row * 2654435761 % 2**32:x}" for row in range(rows)]})
    with pytest.raises(StorageError, match=r"table.parquet cannot be written: .*File too large.*make room there"):
        write_parquet(table, tmp_path / "table.parquet")
