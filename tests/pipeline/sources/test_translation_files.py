"""Files of translations, in the forms in which they are published."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from pipeline.sources.translation import TranslationFileError, load_translations, to_simplified

IMAGE = "COCO_val2014_000000391895"


def load(folder: Path, name: str, content: str | bytes) -> dict[str, str]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_translations([str(path)])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("imageid.manually-translated-caption.txt", "IMAGE#0\t一只猫\nIMAGE#1\t白 猫\n"),
        ("other.txt", "IMAGE.jpg#zhm#0 一只猫\nIMAGE#enm#0 a cat\nIMAGE#zhm#1 白 猫"),
        ("x.bosonseg.txt", "IMAGE#0 一只:m 猫:n\nIMAGE#1 Mr:x Bai:x\n"),
        ("x.tsv", "caption_id\tenglish\tzh\nIMAGE#0\ta cat\t一只猫\n\nIMAGE#1\tx\t白  猫\n"),
        ("x.csv", 'id,text\nIMAGE#0,一只猫\r\nIMAGE#1,"白\n猫"\n'),
        ("x.csv", "\ufeffIMAGE#0,一只猫\nIMAGE#1,白 猫\n"),
        ("x.json", json.dumps({"IMAGE#0": "一只猫", "IMAGE#1": "白 猫", "z": None})),
        ("x.jsonl", '{"id": "IMAGE#0", "caption": "a", "zh": "一只猫"}\n\n{"id": "IMAGE#1", "text": "白 猫"}'),
    ],
)  # fmt: skip
def test_each_published_form(tmp_path: Path, name: str, content: str) -> None:
    second = "Mr Bai" if "boson" in name else "白 猫"
    assert load(tmp_path, name, content.replace("IMAGE", IMAGE)) == {
        f"{IMAGE}#0": "一只猫",
        f"{IMAGE}#1": second,
    }


def test_a_translated_captions_file_and_a_list_of_objects(tmp_path: Path) -> None:
    annotations = [{"id": 49, "image_id": 7, "caption": " 一只猫 "}, {"id": 50, "image_id": 7, "caption": ""}]
    assert load(tmp_path, "captions.json", json.dumps({"images": [], "annotations": annotations})) == {"49": "一只猫"}
    assert load(tmp_path, "list.json", json.dumps([{"region_id": 3, "phrase": "绿树"}])) == {"3": "绿树"}


def test_packed_files_and_globs(tmp_path: Path) -> None:
    load(tmp_path, "a.txt.gz", gzip.compress("1\t一\n2\t二\n".encode()))
    load(tmp_path, "b.txt", "2\t两\n3\t三\n")
    assert load_translations([str(tmp_path / "*.txt*")]) == {"1": "一", "2": "二", "3": "三"}  # the earlier file wins


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", "1\t一\nalone\n", r"x\.txt:2: expected 2 cells with an id and a text; found 1: \['alone'\]"),
        ("x.tsv", "1\t一\t壹\n", r"x\.tsv:1: expected 2 cells"),
        ("x.csv", 'id,zh\n1,一\n2,"二",x\n', r"x\.csv:3: expected 2 cells .* found 3"),
        ("x.txt", "1\t一\n".encode() + b"2\t\xff\xfe\n", r"x\.txt:2: expected UTF-8"),
        ("x.json", '{"1": "一",\n "2" "二"}', r"x\.json: expected JSON: .*line 2"),
        ("x.json", '"一"', r"x\.json: expected an object or a list; found '一'"),
        ("x.json", '{"1": ["一"]}', r"x\.json: entry '1': expected text as the translation; found \['一'\]"),
        ("x.json", '{"annotations": [{"id": 1, "caption": "一"}, {"image_id": 2, "caption": "二"}]}', r"annotations\[1\]: .* id"),
        ("x.jsonl", '{"id": 1, "zh": "一"}\n{"id": 2,\n', r"x\.jsonl:2: expected JSON"),
        ("x.jsonl", '{"id": 1.5, "zh": "一"}\n', r"x\.jsonl:1: expected text or a whole number as id; found 1\.5"),
        ("x.txt", "1#0\t一\n1#zhm#0\t二\n", r"x\.txt:2: a second translation of 1#0: '二'; before: '一'"),
        ("x.txt", "\n", r"x\.txt: expected translations; found none"),
        ("x.txt.gz", b"no gzip", r"x\.txt\.gz: cannot be read"),
    ],
)  # fmt: skip
def test_errors_name_file_and_place(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(TranslationFileError, match=message):
        load(tmp_path, name, content)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(TranslationFileError, match=r"none\.txt matches no file"):
        load_translations([str(tmp_path / "none.txt")])
    with pytest.raises(TranslationFileError, match=r"none\*\.txt matches no file"):
        load_translations([str(tmp_path / "none*.txt")])


def test_traditional_becomes_simplified_word_by_word() -> None:
    assert to_simplified("乾隆年間乾淨的頭髮與麵條") == "乾隆年间干净的头发与面条"
    assert to_simplified("simple 文字") == "simple 文字"


def test_files_of_traditional_text_can_be_simplified(tmp_path: Path) -> None:
    assert load(tmp_path, "x.txt", "1\t紅色汽車\n") == {"1": "紅色汽車"}
    assert load_translations([str(tmp_path / "x.txt")], simplified=True) == {"1": "红色汽车"}
