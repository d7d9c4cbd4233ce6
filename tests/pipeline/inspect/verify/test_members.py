"""Members that are made for many pairs at once are, byte for byte, those that the publish stage writes one by one."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.inspect.verify.members import headers, json_texts, tails
from pipeline.run.tar import BLOCK, member, sample_members
from pipeline.stages.publish.stage import INDEX

TEXTS = ("猫", 'say "猫"', "a\\b", "tab\tfeed\nreturn\r", "\x00\x1f\x7f\u2028", "🐈\u200d", "", "</script>", "a" * 700)
NUMBERS = (0, 1, -1, 2**31 - 1, 7)
FLOATS = (0.0, -0.0, 0.25999, 1e-7, 1e22, 3.4e38, float("nan"), float("inf"), 0.1)


def row(chance: random.Random, number: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in INDEX:
        choices = {"string": TEXTS, "float": FLOATS}.get(str(field.type), NUMBERS)
        values[field.name] = None if field.nullable and chance.random() < 0.3 else chance.choice(choices)
    key = hashlib.md5(str(number).encode()).hexdigest()
    return {**values, "key": key, "caption": chance.choice(TEXTS), "image_sha256": "0" * 64}


@pytest.fixture(scope="module")
def pairs() -> tuple[pa.Table, list[bytes]]:
    chance = random.Random(0)
    images = [chance.randbytes(chance.choice((0, 1, 511, 512, 513, 20_000))) for _ in range(400)]
    rows = [{**row(chance, number), "length": len(image)} for number, image in enumerate(images)]
    return pa.Table.from_pylist(rows, schema=INDEX), images


def public(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in ("tar", "offset", "length")}


def test_headers_and_what_follows_an_image(pairs: tuple[pa.Table, list[bytes]]) -> None:
    table, images = pairs
    heads = headers(table["key"].combine_chunks(), ".jpg", table["length"].to_numpy())
    for values, image, head, tail in zip(table.to_pylist(), images, heads, tails(table).to_pylist(), strict=True):
        written = sample_members(values["key"], image, public(values)).content
        assert head.tobytes() == written[:BLOCK]
        assert tail == written[BLOCK + len(image) :]


def test_a_slice_is_like_a_table_of_its_own(pairs: tuple[pa.Table, list[bytes]]) -> None:
    table, _ = pairs
    sliced = table.slice(37, 100)
    assert tails(sliced).equals(tails(pa.Table.from_pylist(sliced.to_pylist(), schema=INDEX)))


def test_a_table_without_rows() -> None:
    assert len(tails(INDEX.empty_table())) == 0
    assert len(json_texts(INDEX.empty_table())) == 0


@pytest.mark.parametrize("size", [0, 1, 511, 8**7, 8**11 - 1])
def test_sizes_of_any_length(size: int) -> None:
    key = "0123456789abcdef" * 2
    expected = bytearray(member(f"{key}.jpg", b"")[:BLOCK])
    block = headers(pa.array([key]), ".jpg", np.array([size]))[0].tobytes()
    assert int(block[124:135], 8) == size
    blank = block[:148] + b" " * 8 + block[156:]
    assert int(block[148:154], 8) == sum(blank) and block[154:156] == b"\0 "
    assert block[:124] == bytes(expected[:124]) and block[157:] == bytes(expected[157:])
