"""The five data sets of the merge world, written from its entries, with the truth about each row."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from demo.drawings import caption
from demo.merge_files import (
    CocoImage,
    GenomeImage,
    Region,
    write_coco,
    write_coco_cn,
    write_genome,
    write_json,
    write_karpathy,
    write_zip,
)
from demo.merge_plan import Entry, Source
from demo.metadata import Row, write_joined, write_wukong
from demo.phrases import Name, caption_of, phrase_of
from demo.scenes import Box, Scene
from demo.site import Site

LAION, WUKONG = "laion_joined_part-00000.snappy.parquet", "wukong_100m_0.csv"
COCO_CN, GENOME = "imageid.human-written-caption.txt", "region_descriptions.json"
TRAIN, VAL = "train2014", "val2014"
JOINER, ENGLISH_JOINER = "，", "; "  # of a joined caption, as the source's recipe has them
FIRST_FLICKR, FIRST_COCO, FIRST_GENOME = 4_700_001, 1_001, 2_310_001  # ids; any will do
SMALL = 0.3  # of a picture's height

Truth = dict[str, Any]


class Sources:
    """Writes metadata and images. Every choice follows from `rng`."""

    def __init__(
        self, folder: Path, site: Site, names: Mapping[str, Name], images: Mapping[str, bytes], rng: random.Random
    ) -> None:
        """`folder` gets the metadata, COCO's images and the lists; `site` the images that are fetched by url."""
        self._folder, self._site, self._names, self._images, self._rng = folder, site, names, images, rng
        self._coco: dict[str, CocoImage] = {}  # see _picture
        self._members: dict[str, bytes] = {}  # of COCO's zip file
        self._splits: list[tuple[CocoImage, str]] = []  # Karpathy's
        self._lists: dict[str, list[str]] = {"coco-cn_test.txt": [], "flickr30k_test.txt": []}

    def write(self, entries: list[Entry]) -> list[Truth]:
        """Everything; returns rows as merge_world.TRUTH_SCHEMA has them."""
        for name in ("laion", "wukong", "coco", "coco_cn", "vg", "lists"):
            (self._folder / name).mkdir(parents=True)
        (self._site.folder / "pictures").mkdir(parents=True)
        by_source: dict[Source, list[Entry]] = defaultdict(list)
        for entry in self._rng.sample(entries, len(entries)):
            by_source[entry.source].append(entry)
        self._number_coco(by_source["coco"], by_source["coco_cn"])
        writers = {
            "laion": self._laion,
            "wukong": self._wukong,
            "coco": self._coco_json,
            "coco_cn": self._coco_cn,
            "vg": self._genome,
        }
        truth = [row for name, writer in writers.items() for row in writer(by_source[name])]  # type: ignore[index]
        self._write_rest()
        return truth

    def _write_rest(self) -> None:
        write_zip(self._folder / "coco" / "images.zip", self._members.items())
        write_karpathy(self._folder / "lists" / "dataset_coco.json", self._splits)
        for name, lines in self._lists.items():
            (self._folder / "lists" / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        self._site.write()

    def _laion(self, entries: list[Entry]) -> Iterator[Truth]:
        rows = [self._web_row(entry) for entry in entries]
        write_joined(self._folder / "laion" / LAION, rows, self._rng)
        yield from _web_truth(LAION, entries, rows)

    def _wukong(self, entries: list[Entry]) -> Iterator[Truth]:
        rows = [self._web_row(entry) for entry in entries]
        write_wukong(self._folder / "wukong" / WUKONG, rows)
        yield from _web_truth(WUKONG, entries, rows)

    def _web_row(self, entry: Entry) -> Row:
        url = self._served(entry, f"/{entry.source}/{entry.scene.name}-{entry.form.replace(' ', '-')}.jpg")
        return Row(url, caption(entry.scene.placed[0].drawing, self._rng), entry.kind)

    def _served(self, entry: Entry, path: str) -> str:
        file = f"pictures/{entry.image.replace(' ', '-')}.jpg"
        (self._site.folder / file).write_bytes(self._images[entry.image])
        return self._site.add(path, file=file)

    def _number_coco(self, coco: list[Entry], coco_cn: list[Entry]) -> None:
        """Images of COCO. One that COCO-CN has too is one image, in COCO's own captions and in COCO-CN's."""
        for number, entry in enumerate([*coco, *coco_cn], FIRST_COCO):
            if _picture(entry) in self._coco:
                continue
            train = entry.source == "coco" and entry.kind != "test id" and number % 2 == 0
            image = CocoImage(number, TRAIN if train else VAL, entry.change.size)
            self._coco[_picture(entry)] = image
            self._members[f"{image.part}/{image.file_name}"] = self._images[entry.image]
            split = ("test", "val")[number % 2] if entry.match == "karpathy" else "train" if train else "restval"
            self._splits.append((image, split))

    def _coco_json(self, entries: list[Entry]) -> Iterator[Truth]:
        known = {}
        for part in (TRAIN, VAL):
            file = f"captions_{part}.json"
            own = {image.number: entry for entry in entries if (image := self._coco[_picture(entry)]).part == part}
            images = [self._coco[_picture(entry)] for entry in own.values()]
            captions = {number: _captions(entry.scene, self._names) for number, entry in own.items()}
            english = {number: [text for text, _ in texts] for number, texts in captions.items()}
            for row, (image, number) in enumerate(write_coco(self._folder / "coco" / file, images, english)):
                entry = own[image.number]
                by = "model" if entry.kind == "clean" and number == 1 else "file"
                if by == "file":
                    known[str(image.annotation_id(number))] = captions[image.number][number][1]
                yield _truth(entry, file, row, str(image.number), *captions[image.number][number], by)
        write_json(self._folder / "coco" / "zh.json", known)

    def _coco_cn(self, entries: list[Entry]) -> Iterator[Truth]:
        """People's own Chinese captions of COCO's images."""
        images = [self._coco[_picture(entry)] for entry in entries]
        captions = [_captions(entry.scene, self._names, first=2)[0][1] for entry in entries]
        write_coco_cn(self._folder / "coco_cn" / COCO_CN, list(zip(images, captions, strict=True)))
        for row, (entry, image, text) in enumerate(zip(entries, images, captions, strict=True)):
            if entry.kind == "test id":
                self._lists["coco-cn_test.txt"].append(image.file_name.removesuffix(".jpg"))
            yield _truth(entry, COCO_CN, row, str(image.number), "", text, "source")

    def _genome(self, entries: list[Entry]) -> Iterator[Truth]:
        known, images = [], []
        for row, entry in enumerate(entries):
            number = FIRST_GENOME + row
            texts = [phrase_of(*said) for said in self._said(entry.scene)]
            boxes = _boxes(entry)
            regions = [Region(10 * number + i, texts[i][0], box) for i, box in enumerate(boxes)]
            ids = self._other_ids(entry, row)
            url = self._served(entry, f"/VG_100K/{number}.jpg")
            images.append(GenomeImage(number, url, entry.change.size, regions, **ids))
            by = "model" if entry.kind == "clean" else "file"
            if by == "file":
                known += [
                    {"region_id": region.number, "zh": zh} for region, (_, zh) in zip(regions, texts, strict=True)
                ]
            english, chinese = zip(*texts, strict=True)
            yield _truth(entry, GENOME, row, str(number), ENGLISH_JOINER.join(english), JOINER.join(chinese), by)
        write_genome(self._folder / "vg", images)
        lines = (json.dumps(entry, ensure_ascii=False) + "\n" for entry in known)
        (self._folder / "vg" / "zh.jsonl").write_text("".join(lines), encoding="utf-8")

    def _said(self, scene: Scene) -> Iterator[tuple[Name, str]]:
        """A name and what is said of it, a region; a drawing that is alone in a picture has two regions."""
        for placed in scene.placed:
            name = self._names[placed.drawing.hexcode]
            yield (
                name,
                self._rng.choice((placed.position(scene.width), "small" if placed.side < SMALL * scene.height else "")),
            )
        if len(scene.placed) == 1:
            yield name, "large"

    def _other_ids(self, entry: Entry, row: int) -> dict[str, int]:
        """What Visual Genome says of an image's origin: COCO's id, or Flickr's."""
        if entry.match == "flickr30k":
            self._lists["flickr30k_test.txt"].append(str(FIRST_FLICKR + row))
            return {"flickr_id": FIRST_FLICKR + row}
        if entry.match == "karpathy":  # an image that only Visual Genome has here
            image = CocoImage(FIRST_COCO + 100_000 + row, VAL, entry.change.size)
            self._splits.append((image, ("test", "val")[row % 2]))
            return {"coco_id": image.number}
        same = self._coco.get(entry.scene.name) if entry.kind == "duplicate" else None
        return {"coco_id": same.number} if same else {}


def _picture(entry: Entry) -> str:
    """Names an image of COCO: the members of a group of duplicates are one image there, copies of a test image are not."""
    return entry.image if entry.kind == "test image" else entry.scene.name


def _captions(scene: Scene, names: Mapping[str, Name], first: int = 0) -> list[tuple[str, str]]:
    """Two captions of a picture, English and Chinese, about its main drawing."""
    turn = int(scene.name) + first
    name = names[scene.placed[0].drawing.hexcode]
    return [caption_of(name, scene.colour, turn), caption_of(name, scene.colour, turn + 1)]


def _boxes(entry: Entry) -> list[Box]:
    """Where the drawings lie in the image as it is there, one box for each of `_said`."""
    boxes = [entry.change.box((placed.x, placed.y, placed.side, placed.side)) for placed in entry.scene.placed]
    return boxes * 2 if len(boxes) == 1 else boxes


def _web_truth(file: str, entries: list[Entry], rows: list[Row]) -> Iterator[Truth]:
    for position, (entry, row) in enumerate(zip(entries, rows, strict=True)):
        yield _truth(entry, file, position, str(row.url), "", str(row.caption), "source")


def _truth(entry: Entry, file: str, row: int, image: str, english: str, chinese: str, by: str) -> Truth:
    same = {"source": entry.source, "kind": entry.kind, "form": entry.form, "match": entry.match}
    return {**same, "file": file, "row": row, "image": image, "english": english, "chinese": chinese, "by": by}
