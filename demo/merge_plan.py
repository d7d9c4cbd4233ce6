"""What the merge world consists of: which picture stands in which data set, and what was planted there.

An image of a data set is an `Entry`. Entries of one `match` show one picture: copies of a test image, or a group of
duplicates of which one is to stay.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from demo.corpora import english_entries
from demo.drawings import Drawing, caption, load_drawings
from demo.phrases import Name, name_of
from demo.scenes import FORMS, Change, Scene, change_of, scene_of
from demo.world import LEFT_OUT, WORLD_STYLES

Source = Literal["laion", "wukong", "coco", "coco_cn", "vg"]
Kind = Literal["clean", "test image", "test id", "duplicate"]
Size = Literal["demo", "test"]

SOURCES: tuple[Source, ...] = ("laion", "wukong", "coco", "coco_cn", "vg")
WEB_SIZE, COCO_SIZE, VG_SIZE = (256, 256), (320, 240), (400, 300)  # pixels
ORIGINAL = "original"

CLEAN: dict[Size, dict[Source, int]] = {
    "demo": {"laion": 150, "wukong": 120, "coco": 130, "coco_cn": 40, "vg": 80},
    "test": {"laion": 20, "wukong": 16, "coco": 20, "coco_cn": 6, "vg": 12},
}
"""Images of each source that nothing is wrong with."""

BY_ID: dict[Size, dict[tuple[Source, str], int]] = {
    "demo": {
        ("coco", "karpathy"): 20, ("coco_cn", "coco_cn"): 8, ("vg", "karpathy"): 8, ("vg", "flickr30k"): 6,
    },
    "test": {("coco", "karpathy"): 4, ("coco_cn", "coco_cn"): 2, ("vg", "karpathy"): 2, ("vg", "flickr30k"): 2},
}  # fmt: skip
"""Images whose ids stand in a list of test images."""

PLANTED_IN: tuple[Source, ...] = ("laion", "wukong", "coco", "vg")
COPIED: tuple[tuple[Source, Source], ...] = (("coco", "laion"), ("coco", "wukong"), ("coco", "vg"), ("vg", "laion"))
"""Where the two images of a group of duplicates stand. One is of a source without threshold, so that one can stay."""

TIMES: dict[Size, int] = {"demo": 3, "test": 1}  # that each form is planted in each source, or pair of sources
LARGE: dict[Size, int] = {"demo": 6, "test": 1}  # groups of four
TEST_IMAGES: dict[Size, int] = {"demo": 44, "test": 12}  # of the evaluation set; the last quarter is planted nowhere


HAN = re.compile("[一-鿿]")


@dataclass(frozen=True)
class Entry:
    """One image of one data set."""

    source: Source
    kind: Kind
    scene: Scene
    form: str = ORIGINAL  # one of FORMS where the image is a copy
    match: str = ""  # id of the test image; name of the list; name of the group

    @property
    def image(self) -> str:
        """Names the image file: entries of one file have one name."""
        same = self.form in (ORIGINAL, "same file")
        return self.scene.name if same else f"{self.scene.name} {self.form} {self.source}"

    @property
    def change(self) -> Change:
        """What was done to the picture for this entry."""
        form = "same file" if self.form == ORIGINAL else self.form
        return change_of(form, (self.scene.width, self.scene.height), random.Random(self.image))


@dataclass(frozen=True)
class Plan:
    """Everything that the world is made of."""

    entries: list[Entry]
    tests: dict[str, Scene]  # id in the evaluation set → picture
    names: dict[str, Name]  # hexcode → name


class Planner:
    """Deals out drawings, each as the main one of one picture only; every choice follows from the seed."""

    def __init__(self, size: Size, seed: int, cache: Path | None = None) -> None:
        self._size, self._rng = size, random.Random(seed)
        named = english_entries(cache)
        drawings = [
            drawing
            for drawing in load_drawings(cache=cache)
            if drawing.hexcode in named
            and drawing.hexcode not in LEFT_OUT
            and HAN.search(drawing.name)
            and caption(drawing, random.Random(0))
        ]
        self.names = {drawing.hexcode: name_of(drawing, named) for drawing in drawings}
        self._rng.shuffle(drawings)
        # the scorer knows none of these
        self._web = iter([drawing for drawing in drawings if drawing.style in WORLD_STYLES])
        self._other = itertools.cycle([drawing for drawing in drawings if drawing.style not in WORLD_STYLES])
        self._number = itertools.count()

    def plan(self) -> Plan:
        """All entries, in the order in which they are told of here."""
        tests = {f"{100001 + i}": self._scene((1, 3)[i % 2], COCO_SIZE) for i in range(TEST_IMAGES[self._size])}
        entries = [*self._clean(), *self._test_images(tests), *self._test_ids(), *self._duplicates()]
        return Plan(entries, tests, self.names)

    def _clean(self) -> Iterator[Entry]:
        for source, count in CLEAN[self._size].items():
            for _ in range(count):
                yield Entry(source, "clean", self._usual(source))

    def _test_images(self, tests: dict[str, Scene]) -> Iterator[Entry]:
        """Every form in every source, of the test images in turn."""
        planted = itertools.cycle(list(tests.items())[: len(tests) * 3 // 4])
        for _, form, source in itertools.product(range(TIMES[self._size]), FORMS, PLANTED_IN):
            name, scene = next(planted)
            yield Entry(source, "test image", scene, form, name)

    def _test_ids(self) -> Iterator[Entry]:
        for (source, listed), count in BY_ID[self._size].items():
            for _ in range(count):
                yield Entry(source, "test id", self._usual(source), match=listed)

    def _duplicates(self) -> Iterator[Entry]:
        times = TIMES[self._size]
        for _, form, (first, second) in itertools.product(range(times), FORMS, COPIED):
            yield from self._group({first: ORIGINAL, second: form})
        for _ in range(times * 2):  # COCO-CN's images are COCO's
            yield from self._group({"coco": ORIGINAL, "coco_cn": "same file"})
        for _ in range(LARGE[self._size]):
            yield from self._group({"coco": ORIGINAL, "laion": "same file", "wukong": "resized", "vg": "recompressed"})

    def _group(self, forms: dict[Source, str]) -> Iterator[Entry]:
        scene = self._scene(1, VG_SIZE if "coco" not in forms else COCO_SIZE)
        for source, form in forms.items():
            yield Entry(source, "duplicate", scene, form, f"group of {scene.name}")

    def _usual(self, source: Source) -> Scene:
        """A picture such as the source has."""
        if source == "vg":
            return self._scene(self._rng.randint(3, 5), VG_SIZE)
        return self._scene(1, WEB_SIZE if source in ("laion", "wukong") else COCO_SIZE)

    def _scene(self, count: int, size: tuple[int, int]) -> Scene:
        main = next(self._web)
        others: list[Drawing] = []
        while len(others) < count - 1:
            drawing = next(self._other)
            if drawing.hexcode not in {main.hexcode, *(other.hexcode for other in others)}:
                others.append(drawing)
        return scene_of(f"{next(self._number):05d}", [main, *others], size, self._rng)
