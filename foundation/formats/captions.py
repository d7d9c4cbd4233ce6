"""Captions as Flickr30k, COCO-CN and their relatives publish them: `IMAGE#MARK#NUMBER`, white space, caption.

COCO_val2014_000000391895#0	一个男人骑着摩托车        COCO-CN
1007129816.jpg#0	一个人骑着自行车                  Flickr30k-CNA
1007129816#zhm#0 一个:m 男人:n 骑:v 着:u 自行车:n     Flickr30k-CN, segmented: zh is the language, m a translation by hand
"""

from __future__ import annotations

import re
from typing import NamedTuple

CAPTION_ID = re.compile(r"(?P<image>[^#]+?)(?:\.jpe?g)?(?P<marks>(?:#\w+)*)", re.IGNORECASE)
LINE = re.compile(r"(?P<id>\S+)\s+(?P<text>\S|\S.*\S)\s*")
WORD_TAG = re.compile(r":[a-z]+$")  # part of speech, as the segmenter of COCO-CN and Flickr30k-CN appends it
SEGMENTED = re.compile(r"(^|/)seg\.[^/]*$|bosonseg")
SPACE_OF_NO_USE = re.compile(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])")


class CaptionId(NamedTuple):
    """What a caption is called."""

    image: str  # name of the image, without .jpg
    marks: tuple[str, ...]  # what follows it: language and origin, number

    @property
    def is_english(self) -> bool:
        """Whether a mark says that the caption is English."""
        return any(mark.lower().startswith("en") for mark in self.marks)

    @property
    def plain(self) -> str:
        """The id without language and origin: IMAGE#NUMBER."""
        return "#".join([self.image, *(mark for mark in self.marks if mark.isdigit())])


class CaptionLine(NamedTuple):
    """A caption with its id as written, and in parts."""

    written_id: str
    id: CaptionId
    text: str


def parse_id(text: str) -> CaptionId | None:
    """The parts of an id; None for text of another form."""
    match = CAPTION_ID.fullmatch(text)
    return CaptionId(match["image"], tuple(match["marks"].split("#")[1:])) if match else None


def parse_line(line: str) -> CaptionLine | None:
    """Id and caption of a line; None for a line of another form."""
    match = LINE.fullmatch(line)
    caption_id = parse_id(match["id"]) if match else None
    return CaptionLine(match["id"], caption_id, match["text"]) if match and caption_id else None


def is_segmented(path: str) -> bool:
    """Whether a file of this name holds words (`seg.test.txt`, `*.bosonseg.txt`), for `unsegmented` to join."""
    return SEGMENTED.search(path) is not None


def unsegmented(words: str) -> str:
    """Words, with or without tags, as people write them: `一个:m 男人:n` → 一个男人; Latin words stay apart."""
    return SPACE_OF_NO_USE.sub("", " ".join(WORD_TAG.sub("", word) for word in words.split()))
