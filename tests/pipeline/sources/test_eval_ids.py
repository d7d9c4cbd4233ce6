from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from filters.base import reason_bits, reasons_of
from pipeline.sources.rules.eval_ids import EvalIdError, EvalIdList, EvalIds, load_eval_ids


def ids(path: Path, **changes: Any) -> dict[str, list[int]]:
    return {
        name: numbers.to_pylist() for name, numbers in load_eval_ids(EvalIdList(files=(str(path),), **changes)).items()
    }


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_karpathy_val_and_test_are_held_out_and_restval_is_not(tmp_path: Path) -> None:
    images = [
        {"filepath": "val2014", "cocoid": number, "filename": f"COCO_val2014_{number:012d}.jpg", "split": split}
        for number, split in ((391895, "test"), (60623, "restval"), (483108, "val"), (384029, "train"))
    ]
    path = write(tmp_path / "dataset_coco.json", {"images": images, "dataset": "coco"})
    assert ids(path) == {"coco_id": [391895, 483108]}
    assert ids(path, splits=("train",)) == {"coco_id": [384029]}
    with pytest.raises(ValueError, match="restval"):
        EvalIdList(files=(str(path),), splits=("restval",))  # type: ignore[arg-type]


def test_flickr30k_is_held_out_by_the_numbers_of_its_files(tmp_path: Path) -> None:
    images = [{"sentids": [0], "imgid": 0, "filename": "1000092795.jpg", "split": "test"}]
    karpathy = write(tmp_path / "dataset_flickr30k.json", {"images": images, "dataset": "flickr30k"})
    assert ids(karpathy) == {"flickr_id": [1000092795]}
    plain = write(tmp_path / "test.txt", "1007129816\n\n# a remark\n1009434119.jpg\n")
    assert ids(plain, match="flickr_id") == {"flickr_id": [1007129816, 1009434119]}


def test_coco_cn_lists_name_images_of_both_parts(tmp_path: Path) -> None:
    path = write(tmp_path / "coco-cn_test.txt", "COCO_val2014_000000391895\nCOCO_train2014_000000000009\n")
    assert ids(path) == {"coco_id": [9, 391895]}
    assert ids(write(tmp_path / "ids.txt", "9\n000000025\n"), match="coco_id") == {"coco_id": [9, 25]}


@pytest.mark.parametrize(
    "content, message",
    [
        ("391895\n", r"a:1: '391895' may be an id of COCO or of Flickr: state `match`"),
        ("COCO_val2014_000000391895\nwhat\n", r"a:2: expected an id such as COCO_val2014_000000391895; found 'what'"),
        ("\n", "expected ids of images; found none"),
        ({"images": [{"cocoid": 1, "split": "restval"}]}, "expected ids of images; found none"),
        ({"images": [{"cocoid": 1}]}, r"images\[0\]: expected an object with `split`"),
        ({"images": [{"filename": "x.jpg", "split": "test"}]}, r"images\[0\]: expected `cocoid`, or a `filename`"),
        ({"annotations": []}, "expected a Karpathy split"),
        ("{", "expected a Karpathy split"),
    ],
)
def test_a_list_that_cannot_be_used_is_told_with_its_place(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(EvalIdError, match=message):
        ids(write(tmp_path / "a", content))


def test_each_list_has_its_own_reason_and_nulls_are_in_none(tmp_path: Path) -> None:
    coco = write(tmp_path / "a.txt", "COCO_val2014_000000000001\n")
    flickr = write(tmp_path / "b.txt", "20\n1\n")
    rules = [
        EvalIds(name="coco_cn", id_list=EvalIdList(files=(str(coco),))),
        EvalIds(name="flickr30k", id_list=EvalIdList(files=(str(flickr),), match="flickr_id")),
    ]
    assert reasons_of(rules) == ("test_set_coco_cn", "test_set_flickr30k")
    pairs = pa.table(
        {"coco_id": pa.array([1, 20, None, 1], pa.int64()), "flickr_id": pa.array([20, 2, None, None], pa.int64())}
    )
    assert reason_bits(rules, pairs).tolist() == [0b11, 0, 0, 0b01]
    kept, rejected = rules[1].split(pairs)
    assert (kept.num_rows, rejected["reasons"].to_pylist()) == (3, [["test_set_flickr30k"]])
