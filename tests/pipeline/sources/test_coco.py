from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.sources.coco import CocoSource
from pipeline.sources.images import flickr_id
from tests.pipeline.sources.image_set_files import coco_name, read_all, write_coco


def coco(path: Path, **changes: Any) -> CocoSource:
    return CocoSource(kind="coco", files=(str(path),), **changes)


def test_a_row_is_an_annotation_with_what_is_known_of_its_image(tmp_path: Path) -> None:
    rows, bad = read_all("coco", coco(write_coco(tmp_path / "captions_train2014.json", [9, 25])))
    assert bad == []
    assert [row["row"] for row in rows] == [0, 1, 2, 3]
    assert rows[1] == {
        "row": 1,
        "image_id": "25",
        "name": coco_name(25).removesuffix(".jpg"),
        "url": f"http://images.cocodataset.org/train2014/{coco_name(25)}",
        "width": 80,
        "height": 60,
        "coco_id": 25,
        "flickr_id": 2970770025,
        "texts": ["Cat 25 sleeps, take 0."],
        "text_ids": ["250"],
        "text_names": ["COCO_train2014_000000000025#0"],
    }


@pytest.mark.parametrize("split_rows", [1, 3, 1000])
def test_splits_hold_every_row_once_and_name_texts_as_the_whole_file_does(tmp_path: Path, split_rows: int) -> None:
    source = coco(write_coco(tmp_path / "c.json", [1, 2, 3, 4]), translation={"files": ["x"]})
    splits = source.splits("coco", split_rows)
    assert sum(split.rows or 0 for split in splits) == 8
    assert len(splits) == -(-8 // split_rows)
    rows, _ = read_all("coco", source, split_rows)
    assert [row["row"] for row in rows] == list(range(8))
    assert [row["text_names"][0][-2:] for row in rows] == ["#0"] * 4 + ["#1"] * 4
    texts = [
        text
        for split in splits
        for _, lists in source.read_english(split)
        for texts in lists.to_pylist()
        for text in texts
    ]
    assert texts == [row["texts"][0] for row in rows]


def test_images_may_stand_behind_the_annotations_and_be_unknown_or_odd(tmp_path: Path) -> None:
    content = {
        "annotations": [
            {"id": 1, "image_id": 7, "caption": "A dog."},
            {"id": 2, "image_id": 8, "caption": None},
            "no object",
            {"caption": 3},
        ],
        "images": [{"id": 7, "file_name": coco_name(7, "val2014")}, "no object"],
    }
    (tmp_path / "c.json").write_text(json.dumps(content))
    rows, bad = read_all("coco", coco(tmp_path / "c.json"))
    assert [(block.first_row, block.rows, block.reason) for block in bad] == [(2, 1, "malformed_row")]
    assert [row["row"] for row in rows] == [0, 1, 3]
    assert [row["texts"] for row in rows] == [["A dog."], [None], [None]]
    assert [row["url"] for row in rows] == [
        f"http://images.cocodataset.org/val2014/{coco_name(7, 'val2014')}",
        None,
        None,
    ]
    assert [row["image_id"] for row in rows] == ["7", "8", None]


def test_local_images_have_a_url_without_a_path_of_the_machine(tmp_path: Path) -> None:
    rows, _ = read_all("coco", coco(write_coco(tmp_path / "c.json", [9]), images=str(tmp_path)))
    assert rows[0]["url"] == f"local:coco/train2014/{coco_name(9)}"
    content = {
        "images": [{"id": 1, "file_name": "a#b 猫.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "caption": "x"}],
    }
    (tmp_path / "own.json").write_text(json.dumps(content))
    rows, _ = read_all("coco", coco(tmp_path / "own.json", images=(str(tmp_path),)))
    assert rows[0]["url"] == "local:coco/a%23b%20%E7%8C%AB.jpg"


@pytest.mark.parametrize("split_rows", [2, 1000])
def test_a_cut_file_gives_what_came_before_and_one_unreadable_block(tmp_path: Path, split_rows: int) -> None:
    path = write_coco(tmp_path / "c.json", [1, 2, 3, 4])
    path.write_bytes(path.read_bytes()[:-120])
    rows, bad = read_all("coco", coco(path), split_rows)
    assert 4 < len(rows) < 8
    assert [(block.first_row, block.rows, block.reason) for block in bad] == [(len(rows), None, "unreadable_file")]
    assert "byte" in bad[0].detail


def test_a_file_of_another_kind_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "instances.json").write_text('{"images": [], "categories": []}')
    rows, (bad,) = read_all("coco", coco(tmp_path / "instances.json"))
    assert rows == []
    assert bad.reason == "unreadable_file"
    assert "expected an array ['annotations']; the file has ['images', 'categories']" in bad.detail


def test_coco_cn_has_chinese_captions_by_the_line(tmp_path: Path) -> None:
    path = tmp_path / "imageid.human-written-caption.txt"
    path.write_text(
        "COCO_val2014_000000391895#0\t一个男人骑着摩托车\n\nCOCO_train2014_000000000009#1  餐盒里有 水果\nno such line\n",
        encoding="utf-8",
    )
    rows, bad = read_all("coco", coco(path, captions="coco_cn", base_url="http://mirror.example/"))
    assert [(row["row"], row["caption"], row["coco_id"]) for row in rows] == [
        (0, "一个男人骑着摩托车", 391895),
        (2, "餐盒里有 水果", 9),
    ]
    assert rows[0]["url"] == "http://mirror.example/val2014/COCO_val2014_000000391895.jpg"
    assert [(block.first_row, block.reason) for block in bad] == [(3, "malformed_row")]
    assert "no such line" in bad[0].detail
    source = coco(path, captions="coco_cn", images=str(tmp_path))
    assert read_all("coco", source)[0][0]["url"] == "local:coco/val2014/COCO_val2014_000000391895.jpg"
    assert list(source.read_english(source.splits("coco", 10)[0])) == []


def test_flickr_ids_are_read_from_addresses() -> None:
    assert flickr_id("http://farm9.staticflickr.com/8186/8119368305_4e622c8349_z.jpg") == 8119368305
    assert [flickr_id(other) for other in (None, "http://a.example/1.jpg", 3)] == [None] * 3


def test_the_texts_of_a_row_are_a_list_of_strings(tmp_path: Path) -> None:
    source = coco(write_coco(tmp_path / "c.json", [1]))
    (split,) = source.splits("coco", 10)
    ((positions, texts),) = source.read_english(split)
    assert positions.tolist() == [0, 1]
    assert texts.type == pa.list_(pa.string())
