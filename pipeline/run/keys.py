"""The key of a pair, and the equal parts of the key space that plan shards are made of."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foundation.sql import connect

RANGE_DIGITS = 6  # of a key, that decide its range
_HEX_VALUE = np.zeros(256, dtype=np.int64)
_HEX_VALUE[list(b"0123456789abcdef")] = np.arange(16)


def pair_keys(pairs: pa.Table) -> pa.ChunkedArray:
    """The identity of pairs: MD5, 32 hex digits, of source, url and caption, each but the first after a line feed.

    In SQL: `md5(source || chr(10) || coalesce(url, '') || chr(10) || coalesce(caption, ''))`.
    """
    with connect(threads=1) as connection:
        connection.register("pairs", pairs.select(["source", "url", "caption"]))
        query = "select md5(source || chr(10) || coalesce(url, '') || chr(10) || coalesce(caption, '')) from pairs"
        return connection.sql(query).to_arrow_table().column(0)


def key_ranges(keys: pa.ChunkedArray, ranges: int) -> np.ndarray:
    """int64 [len(keys)]: which of `ranges` equal parts of the key space each key falls into, in key order."""
    if len(keys) == 0:
        return np.zeros(0, dtype=np.int64)
    digits = np.frombuffer(pc.utf8_slice_codeunits(keys, 0, RANGE_DIGITS).combine_chunks().buffers()[2], dtype=np.uint8)
    weights = 16 ** np.arange(RANGE_DIGITS - 1, -1, -1)
    leading = _HEX_VALUE[digits[: len(keys) * RANGE_DIGITS].reshape(-1, RANGE_DIGITS)] @ weights
    return leading * ranges // 16**RANGE_DIGITS
