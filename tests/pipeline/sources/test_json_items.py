from __future__ import annotations

import io
import itertools
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.sources import json_items
from pipeline.sources.json_items import JsonItems

CONTENT = {
    "info": {"year": 2014, "list": [1, 2]},
    "images": [{"id": i, "name": f"图{i}\u2028😀"} for i in range(5)],
    "none": [],
    "numbers": [1, 23, 4.5, -6],
    "annotations": [{"id": i, "caption": '一"只]猫'} for i in range(7)],
}


@pytest.mark.parametrize("piece", [1, 3, 64, 1 << 20])
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("indent", [None, 2])
def test_items_are_those_of_json_whatever_the_pieces(
    monkeypatch: pytest.MonkeyPatch, piece: int, ascii_only: bool, indent: int | None
) -> None:
    monkeypatch.setattr(json_items, "PIECE", piece)
    data = json.dumps(CONTENT, ensure_ascii=ascii_only, indent=indent).encode()
    for start in (b"", b"\xef\xbb\xbf", b" \n"):
        arrays = {name: list(items) for name, items in JsonItems(io.BytesIO(start + data)).arrays()}
        assert arrays == {name: values for name, values in CONTENT.items() if isinstance(values, list)}
    assert list(JsonItems(io.BytesIO(data)).array("annotations")) == CONTENT["annotations"]
    outermost = json.dumps(CONTENT["images"], ensure_ascii=ascii_only, indent=indent).encode()
    assert list(JsonItems(io.BytesIO(outermost)).array("")) == CONTENT["images"]


def json_arrays() -> st.SearchStrategy[dict[str, Any]]:
    """Objects of arrays and of other values, with numbers and texts of every kind."""
    numbers = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
    scalars = st.none() | st.booleans() | numbers | st.text(max_size=20)
    values = st.recursive(
        scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner), max_leaves=5
    )
    return st.dictionaries(st.text(max_size=5), st.lists(values, max_size=4) | values, max_size=3)


@settings(max_examples=100, deadline=None)
@given(content=json_arrays(), piece=st.integers(1, 40), ascii_only=st.booleans(), indent=st.none() | st.just(1))
@example(content={"": [3, {"id": 2}]}, piece=1 << 20, ascii_only=True, indent=None)
def test_any_arrays_are_read_as_json_reads_them_and_can_be_taken_up_at_any_item(
    content: dict[str, Any], piece: int, ascii_only: bool, indent: int | None
) -> None:
    data = json.dumps(content, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    arrays = [(name, values) for name, values in content.items() if isinstance(values, list)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_items, "PIECE", piece)
        assert [(name, list(items)) for name, items in JsonItems(io.BytesIO(data)).arrays()] == arrays
        for name, values in arrays:
            reader = JsonItems(io.BytesIO(data))
            for number, item in enumerate(reader.array(name)):
                assert item == values[number]
                assert list(JsonItems(io.BytesIO(data), reader.offset).rest()) == values[number + 1 :]


@pytest.mark.parametrize("piece", [5, 1 << 20])
def test_reading_goes_on_at_any_offset_between_items(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(json_items, "PIECE", piece)
    data = json.dumps(CONTENT, ensure_ascii=False).encode()
    expected = CONTENT["images"]
    for taken in range(6):
        reader = JsonItems(io.BytesIO(data))
        list(itertools.islice(reader.array("images"), taken))
        if taken:
            assert list(JsonItems(io.BytesIO(data), reader.offset).rest()) == expected[taken:]  # type: ignore[index]


@pytest.mark.parametrize(
    "data, message",
    [
        (b'{"annotations": [{"id": 1}, {"id": 2', "ends at byte|byte 28"),
        (b'{"annotations": [{"id": 1} {"id": 2}]}', "byte 27: expected ','; found '{\"id\": 2}"),
        (b'{"annotations": [{"id": 1}]} trailing', "byte 29: more after the end"),
        (b'{"images": []}', "no array `annotations`; arrays in the file: 'images'"),
        (b"no JSON", "byte 0: expected '{'"),
        (b"", "ends at byte 0"),
        (b'{"annotations": ["\xff"]}', "utf-8"),
    ],
)
def test_damage_is_told_with_its_place(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(JsonItems(io.BytesIO(data)).array("annotations"))
        list(JsonItems(io.BytesIO(data)).arrays())
