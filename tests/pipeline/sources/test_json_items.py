from __future__ import annotations

import io
import itertools
import json

import pytest

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
        found = {name: list(items) for name, items in JsonItems(io.BytesIO(start + data)).arrays()}
        assert found == {name: values for name, values in CONTENT.items() if isinstance(values, list)}
    assert list(JsonItems(io.BytesIO(data)).array("annotations")) == CONTENT["annotations"]
    outermost = json.dumps(CONTENT["images"], ensure_ascii=ascii_only, indent=indent).encode()
    assert list(JsonItems(io.BytesIO(outermost)).array("")) == CONTENT["images"]


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
