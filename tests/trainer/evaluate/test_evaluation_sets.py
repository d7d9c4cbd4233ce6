"""Evaluation sets in each published layout, as real files; what is wrong with a file is named."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foundation.formats.lines import FormatError
from tests.trainer.evaluate.evaluation_sets import (
    number_of,
    write_chinese_clip,
    write_coco_cn,
    write_flickr30k_cn,
    write_flickr30k_cna,
    write_folder,
    write_jsonl,
    write_muge,
    write_published,
    write_tsv,
)
from trainer.evaluate.datasets import EvaluationSet, EvaluationSetError


def loaded(evaluation_set: EvaluationSet) -> tuple[list[str], list[set[int]], list[int]]:
    """Texts, relevance, and which pictures the images are."""
    images = list(evaluation_set.images())
    assert [name for name, _ in images] == list(evaluation_set.image_ids)
    texts = [text for _, text in evaluation_set.texts]
    return (
        texts,
        [set(relevant) for relevant in evaluation_set.text_to_images],
        [number_of(content) for _, content in images],
    )


def test_muge_as_published_reports_text_to_image_on_its_validation_split(tmp_path: Path) -> None:
    evaluation_set = EvaluationSet.load(write_muge(tmp_path / "Multimodal_Retrieval"))
    assert loaded(evaluation_set) == (["高级感托特包斜挎", "纯棉碎花吊带裙"], [{0, 2}, {1}], [0, 1, 2])
    assert (evaluation_set.benchmark, evaluation_set.layout, evaluation_set.split) == ("muge", "MUGE", "valid")
    assert evaluation_set.directions == ("text_to_image",)


def test_a_split_can_be_asked_for_and_val_is_valid(tmp_path: Path) -> None:
    folder = write_muge(tmp_path)
    assert EvaluationSet.load(folder, "train").image_ids == ("3000001",)
    assert EvaluationSet.load(folder, "val").image_ids == EvaluationSet.load(folder, "valid").image_ids
    with pytest.raises(EvaluationSetError, match="test: expected texts with images; none of 1 has one"):
        EvaluationSet.load(folder, "test")
    with pytest.raises(EvaluationSetError, match="expected split dev; found test, train, valid"):
        EvaluationSet.load(folder, "dev")


@pytest.mark.parametrize(
    "encode",
    [base64.urlsafe_b64encode, base64.b64encode, lambda content: base64.urlsafe_b64encode(content).rstrip(b"=")],
    ids=["urlsafe", "standard", "without padding"],
)
def test_chinese_clips_layout_with_any_base64(tmp_path: Path, encode: Callable[[bytes], bytes]) -> None:
    evaluation_set = EvaluationSet.load(write_chinese_clip(tmp_path / "Flickr30k-CN", encode))
    assert loaded(evaluation_set) == (["一只狗", "两只猫", "小狗在跑"], [{0}, {1}, {0}], [0, 1])
    assert (evaluation_set.benchmark, evaluation_set.layout, evaluation_set.split, evaluation_set.image_ids) == (
        "flickr30k-cn",
        "Chinese-CLIP",
        "test",
        ("20", "21"),
    )
    assert evaluation_set.directions == ("text_to_image", "image_to_text")


def test_coco_cn_as_published(tmp_path: Path) -> None:
    evaluation_set = EvaluationSet.load(write_coco_cn(tmp_path))
    assert loaded(evaluation_set) == (["一只棕色的狗", "狗在草地上", "两辆摩托车 Honda CB"], [{0}, {0}, {1}], [0, 1])
    assert (evaluation_set.benchmark, evaluation_set.split) == ("coco-cn", "test")
    assert evaluation_set.texts[1][0] == "COCO_val2014_000000000042#1"
    assert loaded(EvaluationSet.load(tmp_path, "valid")) == (["人们在海边"], [{0}], [2])


def test_images_may_be_a_link(tmp_path: Path) -> None:
    write_coco_cn(tmp_path / "set")
    (tmp_path / "set" / "val2014").rename(tmp_path / "elsewhere")
    (tmp_path / "set" / "images").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert loaded(EvaluationSet.load(tmp_path / "set"))[2] == [0, 1]


def test_flickr30k_cn_as_published_joins_its_words(tmp_path: Path) -> None:
    write_flickr30k_cn(tmp_path / "set")
    for folder in (tmp_path / "set", tmp_path / "set" / "flickr30kzhmbosontest"):  # images below, or beside
        evaluation_set = EvaluationSet.load(folder)
        texts = ["一个男人骑BMX bike0", "一个男人骑BMX bike1"] * 2
        assert loaded(evaluation_set) == (texts, [{0}, {0}, {1}, {1}], [0, 1])
        assert (evaluation_set.benchmark, evaluation_set.split, evaluation_set.image_ids[0]) == (
            "flickr30k-cn",
            "test",
            "1007129816",
        )
    assert loaded(EvaluationSet.load(tmp_path / "set", "val"))[2] == [2]


def test_flickr30k_cna(tmp_path: Path) -> None:
    evaluation_set = EvaluationSet.load(write_flickr30k_cna(tmp_path))
    assert loaded(evaluation_set) == (["一个戴帽子的男人", "男人戴眼镜", "一只狗"], [{0}, {0}, {1}], [0, 1])


def test_a_plain_folder_merges_equal_texts(tmp_path: Path) -> None:
    evaluation_set = EvaluationSet.load(write_folder(tmp_path))
    assert loaded(evaluation_set) == (["红色", "绿色"], [{0, 1, 2}, {3}], [0, 2, 3, 1])


def test_a_published_folder_merges_equal_images_and_equal_captions(tmp_path: Path) -> None:
    evaluation_set = EvaluationSet.load(write_published(tmp_path / "set"))
    assert loaded(evaluation_set) == (["一只狗", "一只猫", "一只小狗"], [{0}, {1, 2}, {0}], [0, 1, 2])
    assert evaluation_set.image_ids == ("k0", "k1", "k2")


def test_images_are_read_one_at_a_time(tmp_path: Path) -> None:
    write_tsv(tmp_path, "test", range(5))
    write_jsonl(tmp_path / "test_texts.jsonl", [{"text_id": 1, "text": "x", "image_ids": [0]}])
    path = tmp_path / "test_imgs.tsv"
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*rows[:3], b"3\t!" + rows[3][3:], *rows[4:]]))
    images = EvaluationSet.load(tmp_path).images()
    assert [number_of(next(images)[1]) for _ in range(3)] == [0, 1, 2]  # the bad row has not been looked at
    with pytest.raises(FormatError, match=r"test_imgs\.tsv:4: expected base64 .*; found b'!"):
        next(images)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test_texts.jsonl", '{"text_id": 1, "text": "x", "image_ids": []}\n{"text_id"\n', r"test_texts\.jsonl:2: expected JSON"),
        ("test_texts.jsonl", '[1]\n', r"test_texts\.jsonl:1: expected a JSON object; found '\[1\]'"),
        ("test_texts.jsonl", '\n{"id": 1, "text": "x"}\n', r"test_texts\.jsonl:2: expected text_id, text, image_ids;"),
        ("test_texts.jsonl", '{"text_id": 1, "text": "x", "image_ids": 20}\n', r"test_texts\.jsonl:1: expected text_id"),
        ("test_texts.jsonl", '{"text_id": 1, "text": "x", "image_ids": [7]}\n', r"test_texts\.jsonl:1: image .7. is not among"),
        ("test_imgs.tsv", "20 abcd\n", r"test_imgs\.tsv:1: expected id, tab, base64; found b'20 abcd"),
        ("test_imgs.tsv", "20\tabcd\n20\tabcd\n", r"test_imgs\.tsv:2: image 20 has been in line 1 already"),
    ],
)  # fmt: skip
def test_bad_rows_are_named_with_file_and_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    folder = write_chinese_clip(tmp_path)
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(EvaluationSetError, match=message):
        EvaluationSet.load(folder)


def test_python_bytes_instead_of_base64_are_named(tmp_path: Path) -> None:
    folder = write_chinese_clip(tmp_path, lambda content: str(base64.b64encode(content)).encode())
    with pytest.raises(FormatError, match=r"test_imgs\.tsv:1: expected base64 .*found b\"b'"):
        list(EvaluationSet.load(folder).images())


def test_bad_captions_are_named_with_file_and_line(tmp_path: Path) -> None:
    captions = write_coco_cn(tmp_path) / "coco-cn-version1805v1.1" / "imageid.human-written-caption.txt"
    captions.write_text("COCO_val2014_000000000042#0\t狗\nno-caption#0\n", encoding="utf-8")
    with pytest.raises(
        EvaluationSetError, match=r"human-written-caption\.txt:2: expected IMAGE#NUMBER.*'no-caption#0'"
    ):
        EvaluationSet.load(tmp_path)
    captions.write_bytes("COCO_val2014_000000000042#0\t狗\n".encode("gb18030"))
    with pytest.raises(EvaluationSetError, match=r"human-written-caption\.txt:1: expected UTF-8"):
        EvaluationSet.load(tmp_path)


def test_a_missing_image_is_named_with_where_it_was_looked_for(tmp_path: Path) -> None:
    write_coco_cn(tmp_path)
    (tmp_path / "val2014" / "COCO_val2014_000000000073.jpg").unlink()
    with pytest.raises(EvaluationSetError, match=r"image COCO_val2014_000000000073\.jpg is not in .*val2014"):
        EvaluationSet.load(tmp_path)


def test_an_index_without_its_columns_is_named(tmp_path: Path) -> None:
    folder = write_published(tmp_path / "set")
    pq.write_table(pa.table({"key": ["k0"], "caption": ["x"]}), folder / "000000.parquet")
    with pytest.raises(
        EvaluationSetError, match=r"000000\.parquet: .*columns.* tar, offset, length, image_sha256 missing"
    ):
        EvaluationSet.load(folder)


def test_a_tar_that_was_cut_is_named(tmp_path: Path) -> None:
    folder = write_published(tmp_path / "set")
    tar = folder / "000001.tar"
    tar.write_bytes(tar.read_bytes()[:600])
    with pytest.raises(EvaluationSetError, match=r"000001\.tar: expected \d+ bytes at 512; found 88"):
        list(EvaluationSet.load(folder).images())


def test_unknown_folders_say_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    with pytest.raises(EvaluationSetError, match=r"expected \*_imgs\.tsv, .*manifest\.json; found notes\.txt"):
        EvaluationSet.load(tmp_path)
    with pytest.raises(EvaluationSetError, match="expected the folder of an evaluation set"):
        EvaluationSet.load(tmp_path / "nowhere")
    with pytest.raises(EvaluationSetError, match="this layout has no splits"):
        EvaluationSet.load(write_folder(tmp_path / "plain"), "test")
