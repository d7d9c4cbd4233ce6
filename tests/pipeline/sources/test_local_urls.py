from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from filters.local_url import LocalUrl
from pipeline.sources.coco import CocoSource
from pipeline.sources.local_images import local_url
from pipeline.sources.splits import Block

NAMES: dict[str, list[str]] = {
    "train2014/a.jpg": [],
    "a b#猫?.jpg": [],
    "a..b/...c.jpg": [],
    "../a.jpg": ["url_malformed"],
    "a/../../b.jpg": ["url_malformed"],
    "a/./b.jpg": ["url_malformed"],
    "/etc/passwd": ["url_malformed"],
    "a//b.jpg": ["url_malformed"],
    "a/": ["url_malformed"],
    "a/..": ["url_malformed"],
    "..\\a.jpg": ["url_malformed"],
    "a\0.jpg": ["url_malformed"],
}


def reasons(url: str | None) -> list[str]:
    masks = LocalUrl().rejects(pa.table({"url": pa.array([url], pa.string())}))
    return [reason for reason, mask in masks.items() if mask.to_pylist()[0]]


@pytest.mark.parametrize("name, expected", NAMES.items(), ids=[repr(name) for name in NAMES])
def test_names_that_lead_out_of_a_folder_are_rejected_by_the_plan(
    tmp_path: Path, name: str, expected: list[str]
) -> None:
    assert reasons(local_url("coco", name)) == expected
    assert reasons(local_url("coco", name) + "#xywh=1,2,3,4") == expected
    content = {"images": [{"id": 1, "file_name": name}], "annotations": [{"id": 1, "image_id": 1, "caption": "x"}]}
    (tmp_path / "c.json").write_text(json.dumps(content))
    source = CocoSource(kind="coco", files=(str(tmp_path / "c.json"),), images=(str(tmp_path),))
    (block,) = source.read(source.splits("coco", 10)[0])
    assert isinstance(block, Block)
    assert reasons(block.table["url"][0].as_py()) == expected


def test_only_local_urls_pass_and_a_row_without_an_image_has_none() -> None:
    assert reasons(None) == ["url_missing"]
    assert (
        reasons("http://a.example/b.jpg") == reasons("file:///etc/passwd") == reasons("local:coco") == ["url_malformed"]
    )
