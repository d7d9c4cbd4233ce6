"""Keys of pairs and their ranges, against what the documentation says of them."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.run.keys import key_ranges, pair_keys

TEXT = st.none() | st.text(max_size=12)
PAIRS = st.lists(st.tuples(st.text(max_size=6), TEXT, TEXT), max_size=5)
KEYS = st.lists(st.binary(min_size=16, max_size=16).map(bytes.hex), max_size=20)


@settings(max_examples=50, deadline=None)
@given(PAIRS)
def test_a_key_is_the_md5_of_source_url_and_caption(pairs: list[tuple[str, str | None, str | None]]) -> None:
    columns = [pa.array([pair[i] for pair in pairs], pa.string()) for i in range(3)]
    keys = pair_keys(pa.table(columns, ["source", "url", "caption"])).to_pylist()
    assert keys == [
        hashlib.md5(f"{source}\n{url or ''}\n{caption or ''}".encode()).hexdigest() for source, url, caption in pairs
    ]


@settings(max_examples=100, deadline=None)
@given(KEYS, st.integers(1, 4096), st.integers(0, 20))
def test_ranges_are_equal_parts_of_the_key_space_in_key_order(keys: list[str], ranges: int, cut: int) -> None:
    keys = sorted(keys)
    chunked = pa.chunked_array([pa.array(keys[:cut], pa.string()), pa.array(keys[cut:], pa.string())])
    numbers = key_ranges(chunked, ranges)
    assert numbers.tolist() == [int(key[:6], 16) * ranges // 16**6 for key in keys]
    assert (np.diff(numbers) >= 0).all()
    assert ((numbers >= 0) & (numbers < ranges)).all()


def test_the_first_and_the_last_key_are_in_the_first_and_the_last_range() -> None:
    ends = pa.chunked_array([["0" * 32, "f" * 32]])
    assert [key_ranges(ends, ranges).tolist() for ranges in (1, 7, 4096)] == [[0, 0], [0, 6], [0, 4095]]
