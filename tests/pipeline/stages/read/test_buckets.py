"""Rows through bucket files: all come back, each in its bucket, in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stages.read.buckets import BucketWriter, caption_buckets, read_bucket

SCHEMA = pa.schema([pa.field("row", pa.int64()), pa.field("caption", pa.string())])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("buckets")


@settings(max_examples=100, deadline=None)
@given(data=st.data(), buckets=st.integers(1, 6))
def test_every_row_comes_back_in_its_bucket_and_in_order(folder: Path, data: st.DataObject, buckets: int) -> None:
    chunks = data.draw(
        st.lists(st.lists(st.integers(0, buckets - 1), max_size=6), max_size=3), label="bucket of each row"
    )
    expected: dict[int, list[int]] = {bucket: [] for bucket in range(buckets)}
    row = 0
    with BucketWriter(folder / "rows.arrow", SCHEMA, buckets) as writer:
        for chunk in chunks:
            rows = range(row, row + len(chunk))
            writer.write(pa.table({"row": rows, "caption": map(str, rows)}, SCHEMA), np.array(chunk, dtype=np.int64))
            for number, bucket in zip(rows, chunk, strict=True):
                expected[bucket].append(number)
            row += len(chunk)
    for bucket, rows_there in expected.items():
        table = read_bucket(folder / "rows.arrow", bucket, buckets)
        assert table.schema == SCHEMA
        assert table["row"].to_pylist() == rows_there


@settings(max_examples=50, deadline=None)
@given(st.lists(st.none() | st.text(max_size=5), max_size=8), st.integers(1, 9))
def test_equal_captions_meet_in_one_bucket_whatever_their_neighbours(captions: list[str | None], buckets: int) -> None:
    table = pa.table({"caption": pa.array(captions, pa.string())})
    numbers = caption_buckets(table, buckets)
    assert all(0 <= number < buckets for number in numbers)
    for position, number in enumerate(numbers):
        assert caption_buckets(table.slice(position, 1), buckets)[0] == number
