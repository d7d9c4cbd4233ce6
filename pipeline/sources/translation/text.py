"""Small text helpers of translations."""

from __future__ import annotations

import re

import zhconv  # type: ignore[import-untyped]

WORD_TAG = re.compile(r":[a-z]+$")  # part of speech, as the segmenter of COCO-CN and Flickr30k-CN appends it


def to_simplified(text: str) -> str:
    """`text` with traditional characters simplified, word by word where a word needs it (乾隆 stays, 乾淨 → 干净).

    MediaWiki's table zh-hans, from zhconv; regional words stay what they are (軟體 → 软体, not 软件).
    """
    return zhconv.convert(text, "zh-hans")


def one_line(text: str) -> str:
    """`text` with each run of white space as one space, and none around."""
    return " ".join(text.split())


def unsegmented(text: str) -> str:
    """Words, with or without tags, as people write them: `一个:m 男人:n` → 一个男人; Latin words stay apart."""
    words = " ".join(WORD_TAG.sub("", word) for word in text.split())
    return re.sub(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])", "", words)
