"""Readers of published formats, which the pipeline and the trainer share."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.formats.base64_tsv import decode, read_rows, scan_rows
from foundation.formats.captions import is_segmented, parse_id, parse_line, unsegmented
from foundation.formats.lines import FormatError, numbered_lines


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("一个:m 男人:n ，:wd 站:v", "一个男人，站"),
        ("一个 男人", "一个男人"),
        ("穿 T恤 的 Nike shoes 3 号", "穿T恤的Nike shoes 3号"),
        ("时间:n 12:30:t", "时间12:30"),
    ],
)
def test_words_become_a_sentence(words: str, text: str) -> None:
    assert unsegmented(words) == text


@pytest.mark.parametrize(
    ("line", "image", "plain", "text"),
    [
        ("COCO_val2014_000000391895#0\t一个男人 骑车 \n", "COCO_val2014_000000391895", "COCO_val2014_000000391895#0", "一个男人 骑车"),  # noqa: E501
        ("1007129816.jpg#0\t文本", "1007129816", "1007129816#0", "文本"),
        ("1007129816#zhm#3 一个:m 男人:n", "1007129816", "1007129816#3", "一个:m 男人:n"),
        ("42 狗", "42", "42", "狗"),
    ],
)  # fmt: skip
def test_a_caption_line_has_an_image_an_id_and_a_text(line: str, image: str, plain: str, text: str) -> None:
    caption = parse_line(line)
    assert caption is not None
    assert (caption.id.image, caption.id.plain, caption.text) == (image, plain, text)
    assert caption.written_id == line.split()[0]


@pytest.mark.parametrize("line", ["", "no-caption#0", "#0 text", "  42 leading", "42   "])
def test_a_line_of_another_form_is_none(line: str) -> None:
    assert parse_line(line) is None


def test_an_id_says_whether_its_caption_is_english() -> None:
    english, chinese = parse_id("42.jpg#enm#0"), parse_id("42.JPG#zhb#0")
    assert english is not None and english.is_english
    assert chinese is not None and not chinese.is_english and chinese.plain == "42#0"


def test_which_files_are_segmented() -> None:
    assert is_segmented("TextData/seg.flickr30kzhb.train.caption.txt") and is_segmented("x/imageid.bosonseg.txt")
    assert not is_segmented("seg.folder/captions.txt") and not is_segmented("imageid.human-written-caption.txt")


@settings(deadline=None)
@given(st.lists(st.tuples(st.from_regex(r"[\w.-]{1,9}", fullmatch=True), st.binary(max_size=50)), max_size=5))
def test_images_come_back_from_either_alphabet_with_or_without_padding(images: list[tuple[str, bytes]]) -> None:
    encoders = [base64.b64encode, base64.urlsafe_b64encode, lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")]
    for encode in encoders:
        for _, content in images:
            assert decode(encode(content) + b"\r\n", "x") == content


def test_rows_are_found_again_at_their_offsets(tmp_path: Path) -> None:
    path, images = tmp_path / "x_imgs.tsv", [("1", bytes(range(256)) * 3 + b"\xfb\xff"), ("二", b"last")]
    for encode in (base64.urlsafe_b64encode, base64.b64encode):
        rows = [name.encode() + b"\t" + encode(content) for name, content in images]
        path.write_bytes(rows[0] + b"\r\n\n" + rows[1])
        assert list(read_rows(path)) == images
        assert [(row.image_id, row.line) for row in scan_rows(path)] == [("1", 1), ("二", 3)]
        content = path.read_bytes()
        assert [decode(content[row.offset :].split(b"\n")[0], "x") for row in scan_rows(path)] == [b for _, b in images]


def test_lines_are_numbered_from_one_and_must_be_utf_8() -> None:
    content = "\ufeffa\r\n \nb\n".encode()
    assert list(numbered_lines(io.BytesIO(content), "x")) == [(1, "a"), (3, "b")]
    assert list(numbered_lines(io.BytesIO(content), "x", keep_blank=True)) == [(1, "a"), (2, " "), (3, "b")]
    with pytest.raises(FormatError, match=r"^x:2: expected UTF-8 \(invalid start byte\); found b'\\xff'$"):
        list(numbered_lines(io.BytesIO(b"a\n\xff"), "x"))
