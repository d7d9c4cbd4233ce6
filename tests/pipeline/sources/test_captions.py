from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.not_translated import NotTranslated
from pipeline.sources.base import Source
from pipeline.sources.captions import ENGLISH_JOINER, Captions, WrongTranslation, join_texts
from pipeline.sources.coco import CocoSource
from pipeline.sources.images import IMAGES_SCHEMA
from pipeline.sources.table import TableSource
from pipeline.sources.visual_genome import VisualGenomeSource

CHINESE = pa.list_(pa.string())


def genome(**changes: Any) -> VisualGenomeSource:
    return VisualGenomeSource(kind="visual_genome", files=("x",), image_data="y", **changes)


def raw(texts: Sequence[Sequence[str | None]], **more: Sequence[Sequence[str | None]]) -> pa.Table:
    """Rows of an image set with these texts, by default with ids 00, 01, 10, …"""
    ids = more.pop("text_ids", [[f"{row}{i}" for i in range(len(own))] for row, own in enumerate(texts)])
    table = pa.Table.from_pylist([{"url": f"http://a/{row}"} for row in range(len(texts))], IMAGES_SCHEMA)
    for name, lists in {"texts": texts, "text_ids": ids, **more}.items():
        table = table.append_column(name, pa.array(lists, CHINESE))
    return table


def model(rows: Sequence[int], chinese: Sequence[Sequence[str | None]]) -> pa.Table:
    """What the translator left for a split."""
    return pa.table({"row": pa.array(rows, pa.int64()), "chinese": pa.array(chinese, CHINESE)})


def complete(
    source: Source, table: pa.Table, translated: pa.Table | None = None
) -> list[tuple[str | None, str | None]]:
    """(caption, english) of each row, read in two batches."""
    captions, texts = Captions(source, translated), []
    for start in (0, 1):
        part = table.slice(start, 1 if start == 0 else None)
        positions = np.arange(start, start + part.num_rows)
        pairs = captions.complete(source.to_pairs(part, "s", "f", positions), part)
        texts += list(zip(pairs["caption"].to_pylist(), pairs["english"].to_pylist(), strict=True))
    return texts


def files(folder: Path, known: dict[str, str]) -> dict[str, Any]:
    (folder / "zh.json").write_text(json.dumps(known))
    return {"files": [str(folder / "zh.json")]}


def test_files_win_over_the_model_and_only_translated_phrases_are_used(tmp_path: Path) -> None:
    source = genome(translation={**files(tmp_path, {"00": "棕色的狗", "10": "蓝天"}), "model": "some/model"})
    table = raw([["a brown dog", "green grass", "a tree"], ["blue sky"], ["a wall", "a hat"], []])
    left = model([0, 1, 2, 3], [["狗", "绿草", None], ["天"], [None, " "], []])
    assert complete(source, table, left) == [
        ("棕色的狗，绿草", "a brown dog; green grass"),
        ("蓝天", "blue sky"),
        (None, "a wall; a hat"),
        (None, None),
    ]


def test_whole_phrases_are_joined_up_to_the_bound_and_the_first_always() -> None:
    source = genome(translation={"model": "m"}, max_joined=7, joiner="。")
    table = raw([["a", "b", "c", "d"], ["long", "b"], [None, "b"]])
    left = model([0, 1, 2], [["一二", "三四", "五六", "七"], ["一二三四五六七八", "九"], [None, "十"]])
    assert complete(source, table, left) == [
        ("一二。三四", "a; b"),  # one of 2 + 1 + 2 + 1 + 2 = 8 characters would be too long
        ("一二三四五六七八", "long"),
        ("十", "b"),
    ]
    exact = genome(translation={"model": "m"}, max_joined=8, joiner="。")
    assert complete(exact, table, left)[0] == ("一二。三四。五六", "a; b; c")


def test_a_text_may_be_known_by_the_name_that_coco_cn_gives_it(tmp_path: Path) -> None:
    source = CocoSource(
        kind="coco",
        files=("x",),
        translation=files(tmp_path, {"7": "按编号", "COCO_val2014_000000391895#0": "按名字", "9": "都有"}),
    )
    names = [["COCO_val2014_000000391895#1"], ["COCO_val2014_000000391895#0"], ["COCO_val2014_000000391895#0"]]
    table = raw([["a"], ["b"], ["c"]], text_ids=[["7"], ["8"], ["9"]], text_names=names)
    assert complete(source, table) == [("按编号", "a"), ("按名字", "b"), ("都有", "c")]


def test_without_a_translation_the_english_is_the_caption() -> None:
    assert complete(genome(), raw([["a dog", "a tree"], [None]])) == [("a dog; a tree", "a dog; a tree"), (None, None)]


def test_what_was_translated_must_be_what_is_read() -> None:
    source = genome(translation={"model": "m"})
    table = raw([["a"], ["b", "c"]])
    with pytest.raises(WrongTranslation):
        complete(source, table, model([0, 2], [["一"], ["二", "三"]]))
    with pytest.raises(WrongTranslation):
        complete(source, table, model([0, 1], [["一"], ["二"]]))


def test_a_table_with_an_english_column_is_translated_by_image_id(tmp_path: Path) -> None:
    columns = {"url": "link", "english": "Text", "image_id": "id"}
    source = TableSource(kind="table", files=("x",), columns=columns, translation=files(tmp_path, {"a1": "一只猫"}))
    table = pa.table(
        {"link": ["http://a/1", "http://a/2", "http://a/3"], "text": [" A cat ", "A dog", ""], "id": ["a1", "a2", "a3"]}
    )
    assert complete(source, table) == [("一只猫", "A cat"), (None, "A dog"), (None, "")]


def test_rows_with_english_and_no_chinese_are_rejected_as_not_translated() -> None:
    table = pa.table({"caption": ["字", None, None], "english": ["a", "b", None]})
    kept, rejected = NotTranslated().split(table)
    assert kept.num_rows == 2
    assert rejected["english"].to_pylist() == ["b"]


def joined_by_hand(texts: list[tuple[str, str | None]], joiner: str, longest: int | None) -> tuple[str | None, str]:
    """Chinese and English of one row, as `join_texts` describes them."""
    translated = [(english, chinese) for english, chinese in texts if chinese is not None]
    if not translated:
        return None, ENGLISH_JOINER.join(english for english, _ in texts)
    used = translated[:1]
    for pair in translated[1:]:
        if longest is not None and len(joiner.join(chinese for _, chinese in [*used, pair])) > longest:
            break
        used.append(pair)
    return joiner.join(chinese for _, chinese in used), ENGLISH_JOINER.join(english for english, _ in used)


CHINESE_TEXT = st.sampled_from([None, "", "一", "一二", "一二三", "一二三四"])
TEXTS = st.lists(st.tuples(st.text("ab ", max_size=2), CHINESE_TEXT), max_size=5)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(TEXTS, max_size=4), joiner=st.sampled_from(["", "，", "; "]), longest=st.none() | st.integers(1, 9)
)
def test_texts_are_joined_as_if_by_hand(
    rows: list[list[tuple[str, str | None]]], joiner: str, longest: int | None
) -> None:
    flat = [(number, english, chinese) for number, texts in enumerate(rows) for english, chinese in texts]
    schema = {"row": pl.Int64, "english": pl.String, "chinese": pl.String}
    joined = join_texts(pl.DataFrame(flat, schema, orient="row"), joiner, longest)
    by_row = {
        row: (chinese, english) for row, chinese, english in joined.select("row", "chinese", "english").iter_rows()
    }
    assert len(by_row) == joined.height
    assert by_row == {number: joined_by_hand(texts, joiner, longest) for number, texts in enumerate(rows) if texts}
