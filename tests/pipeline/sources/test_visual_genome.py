from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.sources.visual_genome import VisualGenomeSource
from tests.pipeline.sources.image_set_files import read_all, region, write_image_data, write_regions

PHRASES = {1: ["a brown dog", "green grass ", "a tree"], 3: [], 2: ["the sky is blue"]}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Three images, one of them without regions, one whose data is unknown."""
    regions = {
        image: [region(100 * image + i, image, phrase, (i, 2, 30, 20)) for i, phrase in enumerate(phrases)]
        for image, phrases in PHRASES.items()
    }
    write_regions(tmp_path / "region_descriptions.json", regions)
    write_image_data(tmp_path / "image_data.json", {1: (None, 48263), 2: (391895, 5000000000)})
    return tmp_path


def genome(folder: Path, **changes: Any) -> VisualGenomeSource:
    files = (str(folder / "region_descriptions.json"),)
    return VisualGenomeSource(kind="visual_genome", files=files, image_data=str(folder / "image_data.json"), **changes)


@pytest.mark.parametrize("split_rows", [1, 2, 1000])
def test_joined_a_row_is_an_image_with_all_its_phrases(files: Path, split_rows: int) -> None:
    rows, bad = read_all("vg", genome(files), split_rows)
    assert bad == []
    assert [(row["row"], row["image_id"], row["texts"]) for row in rows] == [
        (0, "1", ["a brown dog", "green grass", "a tree"]),
        (1, "3", []),
        (2, "2", ["the sky is blue"]),
    ]
    assert rows[0]["text_ids"] == ["100", "101", "102"]
    assert [(row["coco_id"], row["flickr_id"]) for row in rows] == [(None, 48263), (None, None), (391895, 5000000000)]
    assert [row["url"] for row in rows][:2] == ["https://cs.stanford.edu/people/rak248/VG_100K/1.jpg", None]


@pytest.mark.parametrize("split_rows", [1, 2, 1000])
def test_by_region_a_row_is_a_part_of_an_image(files: Path, split_rows: int) -> None:
    rows, bad = read_all("vg", genome(files, pairs="regions", images=(str(files),)), split_rows)
    assert bad == []
    assert [(row["row"], row["texts"], row["text_ids"]) for row in rows] == [
        (0, ["a brown dog"], ["100"]),
        (1, ["green grass"], ["101"]),
        (2, ["a tree"], ["102"]),
        (3, ["the sky is blue"], ["200"]),
    ]
    assert [row["url"] for row in rows][1] == "local:vg/VG_100K/1.jpg#xywh=1,2,30,20"
    assert (rows[0]["width"], rows[0]["height"]) == (30, 20)


def test_odd_entries_are_malformed_rows_and_a_box_without_numbers_has_no_url(files: Path) -> None:
    good = {"id": 1, "regions": ["no region", {**region(5, 1, "a cat"), "x": None}, region(6, 1, "a hat")]}
    content = [good, {"id": 2}, 3, {"id": 2, "regions": [region(7, 2, "a wall")]}]
    (files / "region_descriptions.json").write_text(json.dumps(content))
    rows, bad = read_all("vg", genome(files, pairs="regions"))
    assert [(row["row"], row["texts"], row["url"] is None) for row in rows] == [
        (1, ["a cat"], True),
        (2, ["a hat"], False),
        (5, ["a wall"], False),
    ]
    assert sorted((block.first_row, block.rows, block.reason) for block in bad) == [
        (0, 1, "malformed_row"),
        (3, 1, "malformed_row"),
        (4, 1, "malformed_row"),
    ]
    rows, bad = read_all("vg", genome(files))
    assert [(row["row"], row["texts"]) for row in rows] == [(0, ["a cat", "a hat"]), (3, ["a wall"])]
    assert [block.first_row for block in bad] == [1, 2]


def test_a_cut_file_gives_what_came_before_and_one_unreadable_block(files: Path) -> None:
    path = files / "region_descriptions.json"
    path.write_bytes(path.read_bytes()[:-30])
    rows, bad = read_all("vg", genome(files))
    assert [row["row"] for row in rows] == [0, 1]
    assert [(block.first_row, block.rows, block.reason) for block in bad] == [(2, None, "unreadable_file")]
