"""English captions and phrases of drawings with their Chinese: names from Unicode's CLDR, set into a few sentences.

The demo's translator is trained on them (demo.train_translator), and its COCO and Visual Genome captions are made of them
(demo.merge_world), so that the Chinese which a translation should have come to is known.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from demo.corpora import english_entries
from demo.drawings import Drawing, load_drawings

COLOURS = {
    "white": ("白色", "#ffffff"),
    "light blue": ("浅蓝色", "#cfe8fb"),
    "pink": ("粉色", "#fbd5e0"),
    "yellow": ("黄色", "#fdf0b0"),
    "green": ("绿色", "#cdeccd"),
    "grey": ("灰色", "#dcdcdc"),
    "orange": ("橙色", "#fddcb8"),
    "purple": ("紫色", "#e2d3f5"),
}
"""Name of a background → its Chinese name, and its colour."""

CAPTIONS = (
    ("the {a} on a {colour} background", "{colour}背景上的{a}"),
    ("a drawing of the {a} on {colour} paper", "{colour}纸上画着{a}"),
    ("there is the {a} in this picture", "这张图片里有{a}"),
    ("a picture that shows the {a}", "一张展示{a}的图片"),
)
"""Captions of a picture with one drawing: English, Chinese."""

PHRASES = {
    "": ("{a}", "{a}"),
    "left": ("{a} on the left", "左边的{a}"),
    "right": ("{a} on the right", "右边的{a}"),
    "middle": ("{a} in the middle", "中间的{a}"),
    "small": ("a small {a}", "一个小小的{a}"),
    "large": ("a large {a}", "一个大大的{a}"),
}
"""Phrases of a region of a picture, by what is said of it: English, Chinese."""


@dataclass(frozen=True)
class Name:
    """What a drawing shows, in both languages."""

    hexcode: str
    english: str
    chinese: str


def load_names(cache: Path | None = None) -> dict[str, Name]:
    """hexcode → name, of all concepts that are drawn in any style: 1,644 of them."""
    entries = english_entries(cache)
    return {
        drawing.hexcode: name_of(drawing, entries)
        for drawing in load_drawings(cache=cache)
        if drawing.hexcode in entries
    }


def name_of(drawing: Drawing, entries: dict[str, tuple[str, list[str]]]) -> Name:
    """The name of one drawing, from `demo.corpora.english_entries`."""
    return Name(drawing.hexcode, entries[drawing.hexcode][0], drawing.name)


def caption_of(name: Name, colour: str, which: int) -> tuple[str, str]:
    """One of CAPTIONS about a drawing on a background of COLOURS: English, Chinese."""
    english, chinese = CAPTIONS[which % len(CAPTIONS)]
    return (
        english.format(a=name.english, colour=colour),
        chinese.format(a=name.chinese, colour=COLOURS[colour][0]),
    )


def phrase_of(name: Name, position: str) -> tuple[str, str]:
    """A phrase of PHRASES about a drawing: English, Chinese."""
    english, chinese = PHRASES[position]
    return english.format(a=name.english), chinese.format(a=name.chinese)


def some_text(name: Name, rng: random.Random) -> tuple[str, str]:
    """Any caption or phrase about a name: English, Chinese."""
    if rng.random() < 0.5:
        return caption_of(name, rng.choice(list(COLOURS)), rng.randrange(len(CAPTIONS)))
    return phrase_of(name, rng.choice(list(PHRASES)))
