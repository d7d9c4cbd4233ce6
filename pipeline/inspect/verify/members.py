"""What the tar members of pairs must look like, made for many pairs at once: headers, KEY.json, KEY.txt and padding."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.run.tar import BLOCK, member

KEY_LENGTH = 32
SIZE, CHECKSUM = slice(124, 135), slice(148, 154)  # digits, octal, in a USTAR header
NOT_IN_JSON = ("tar", "offset", "length")
ESCAPED = r'[\x00-\x1f"\\]'  # what json.dumps writes otherwise
PADDINGS = pa.array([bytes(size) for size in range(BLOCK)], pa.binary())


def headers(keys: pa.Array, ending: str, sizes: np.ndarray) -> np.ndarray:
    """uint8 (n, 512): headers of members KEY and `ending`.

    Args:
        keys: strings of KEY_LENGTH.
        sizes: int64 (n,), bytes of each member.
    """
    count = len(keys)
    template = np.frombuffer(member("0" * KEY_LENGTH + ending, b"")[:BLOCK], dtype=np.uint8)
    blocks = np.tile(template, (count, 1))
    text = keys.cast(pa.binary()).cast(pa.binary(KEY_LENGTH))
    names = np.frombuffer(text.buffers()[1], dtype=np.uint8)[text.offset * KEY_LENGTH :][: count * KEY_LENGTH]
    blocks[:, :KEY_LENGTH] = names.reshape(count, KEY_LENGTH)
    blocks[:, SIZE] = _octal(sizes, SIZE.stop - SIZE.start)
    blocks[:, CHECKSUM.start : CHECKSUM.start + 8] = ord(" ")
    sums = blocks.sum(axis=1, dtype=np.int64)
    blocks[:, CHECKSUM] = _octal(sums, CHECKSUM.stop - CHECKSUM.start)
    blocks[:, CHECKSUM.stop] = 0
    return blocks


def _octal(numbers: np.ndarray, digits: int) -> np.ndarray:
    """uint8 (n, digits): numbers as octal text with leading zeros."""
    shifts = 3 * np.arange(digits - 1, -1, -1, dtype=np.int64)
    return ((numbers[:, None] >> shifts) & 7).astype(np.uint8) + ord("0")


def padding(sizes: np.ndarray) -> np.ndarray:
    """int64 (n,): zero bytes behind members of these sizes."""
    return -sizes % BLOCK


def tails(pairs: pa.Table) -> pa.BinaryArray:
    """What follows each image in a published tar, up to the next pair: its padding, KEY.json and KEY.txt.

    Args:
        pairs: rows of a published index.
    """
    keys, described = pairs["key"].combine_chunks(), json_texts(pairs.drop_columns(list(NOT_IN_JSON)))
    captions = pc.cast(pairs["caption"].combine_chunks(), pa.binary())
    parts = [PADDINGS.take(pa.array(padding(pairs["length"].to_numpy())))]
    for ending, content in ((".json", described), (".txt", captions)):
        sizes = pc.binary_length(content).to_numpy().astype(np.int64)
        blocks = pa.py_buffer(headers(keys, ending, sizes).tobytes())
        parts.append(
            pa.FixedSizeBinaryArray.from_buffers(pa.binary(BLOCK), len(keys), [None, blocks]).cast(pa.binary())
        )
        parts += [content, PADDINGS.take(pa.array(padding(sizes)))]
    return pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.binary()))


def json_texts(pairs: pa.Table) -> pa.BinaryArray:
    """Each row as `json.dumps` of its columns that have a value, in order."""
    columns = [
        pc.binary_join_element_wise(f"{json.dumps(name)}: ", _values(pairs[name].combine_chunks()), "")
        for name in pairs.column_names
    ]
    joined = pc.binary_join_element_wise(*columns, ", ", null_handling="skip")
    return pc.cast(pc.binary_join_element_wise("{", joined, "}", ""), pa.binary())


def _values(column: pa.Array) -> pa.StringArray:
    """The JSON of each value; null stays null."""
    if pa.types.is_integer(column.type):
        return column.cast(pa.string())
    if not pa.types.is_string(column.type):
        finite = pa.types.is_floating(column.type) and pc.all(pc.is_finite(column)).as_py() is not False
        write = float.__repr__ if finite else json.dumps  # of finite numbers that is what json.dumps gives, sooner
        return pa.array([None if value is None else write(value) for value in column.to_pylist()], pa.string())
    quoted = pc.binary_join_element_wise('"', column, '"', "")
    special = pc.fill_null(pc.match_substring_regex(column, ESCAPED), False)
    if not pc.any(special).as_py():
        return quoted
    written = [json.dumps(text, ensure_ascii=False) for text in column.filter(special).to_pylist()]
    return pc.replace_with_mask(quoted, special, pa.array(written, pa.string()))


def are_keys(keys: pa.Array) -> bool:
    """Whether all are KEY_LENGTH characters of ASCII, as every key is."""
    return bool(pc.all(pc.match_substring_regex(keys, f"^[0-9a-f]{{{KEY_LENGTH}}}$")).as_py())
