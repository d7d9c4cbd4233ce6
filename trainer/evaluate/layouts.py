"""The layouts that evaluation sets come in. Each reader looks at a folder and answers None where it is of another layout."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from foundation.formats.captions import is_segmented, parse_line, unsegmented
from foundation.text import shown
from trainer.evaluate.sources import Base64Rows, EvaluationSetError, Files, ImageSource, TarMembers, lines

Benchmark = Literal["muge", "flickr30k-cn", "coco-cn"]
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
SPLITS = ("test", "valid", "val", "train")  # in the order of preference; valid and val are one
FIELDS = (
    ("text_id", "query_id"),
    ("text", "query_text"),
    ("image_ids", "item_ids"),
)  # Chinese-CLIP's names, MUGE's names
COLUMNS = ("key", "caption", "tar", "offset", "length", "image_sha256")


@dataclass(frozen=True)
class Content:
    """What a layout's reader found."""

    layout: str
    split: str | None
    benchmark: Benchmark | None
    images: ImageSource
    texts: tuple[tuple[str, str], ...]  # id and text
    relevant: tuple[tuple[str, ...], ...]  # ids of images, for each text
    places: tuple[str, ...]  # FILE:LINE of each text, for messages


class Texts:
    """Collects texts; equal ones become one text with all of their images where `merge` says so."""

    def __init__(self, merge: bool = False) -> None:
        self.merge = merge
        self.rows: dict[str, tuple[str, str, list[str], str]] = {}

    def add(self, name: str, text: str, images: Iterable[str], location: str) -> None:
        """One text; `location` is FILE:LINE."""
        key = text if self.merge else f"{len(self.rows)}"
        self.rows.setdefault(key, (name, text, [], location))[2].extend(images)

    def content(self, layout: str, split: str | None, benchmark: Benchmark | None, images: ImageSource) -> Content:
        """All of it."""
        rows = self.rows.values()
        relevant = tuple(tuple(row[2]) for row in rows)
        return Content(
            layout, split, benchmark, images, tuple(row[:2] for row in rows), relevant, tuple(row[3] for row in rows)
        )


def read_tsv(folder: Path, split: str | None) -> Content | None:
    """MUGE as published (`MR_valid_imgs.tsv`, `MR_valid_queries.jsonl`) and Chinese-CLIP's layout (`valid_imgs.tsv`,
    `valid_texts.jsonl`). Without a split: the first of test, valid that has answers (MUGE's test has none).
    """
    images_of = {path.name.removesuffix("_imgs.tsv"): path for path in sorted(folder.glob("*_imgs.tsv"))}
    if not images_of:
        return None
    by_split = {name.rsplit("_", 1)[-1]: name for name in images_of}
    for name in choose(split, by_split, folder):
        stem = by_split[name]
        path = next(
            (path for path in (folder / f"{stem}_texts.jsonl", folder / f"{stem}_queries.jsonl") if path.exists()), None
        )
        if path is None:
            raise EvaluationSetError(
                f"{images_of[stem]}: expected {stem}_texts.jsonl or {stem}_queries.jsonl beside it"
            )
        texts = _read_queries(path)
        if split or any(row[2] for row in texts.rows.values()):
            images = Base64Rows.scan(images_of[stem])
            layout = "MUGE" if path.name.endswith("_queries.jsonl") else "Chinese-CLIP"
            return texts.content(layout, name, _benchmark(folder, stem), images)
    raise EvaluationSetError(f"{folder}: no split has answers (image_ids or item_ids); found {', '.join(by_split)}")


def _read_queries(path: Path) -> Texts:
    texts = Texts()
    for number, line in lines(path):
        row = parse_object(line, f"{path}:{number}")
        values = [next((row[name] for name in names if name in row), None) for names in FIELDS]
        if values[0] is None or values[1] is None or not isinstance(values[2] or [], list):
            raise EvaluationSetError(
                f"{path}:{number}: expected text_id, text, image_ids; or query_id, query_text, item_ids; found {shown(line)}"
            )
        texts.add(str(values[0]), str(values[1]), map(str, values[2] or ()), f"{path}:{number}")
    return texts


def _benchmark(folder: Path, stem: str) -> Benchmark | None:
    """Chinese-CLIP's layout does not say which set it holds; the folder's name does (datasets/MUGE, datasets/Flickr30k-CN)."""
    name = folder.resolve().name.lower()
    if stem.startswith("MR_") or "muge" in name:
        return "muge"
    if re.search(r"flickr30k-?_?cn", name):
        return "flickr30k-cn"
    return "coco-cn" if re.search(r"coco-?_?cn", name) else None


def read_coco_cn(folder: Path, split: str | None) -> Content | None:
    """COCO-CN as published: `imageid.human-written-caption.txt`, `coco-cn_test.txt`, COCO's images anywhere below.

    The human-written captions are those that the paper's figures refer to: 1,053 texts on the 1,000 images of the test split.
    """
    captions = _below(folder, "imageid.human-written-caption.txt")
    if captions is None:
        return None
    lists = {path.stem.removeprefix("coco-cn_"): path for path in captions.parent.glob("coco-cn_*.txt")}
    name = choose(split, lists, captions.parent)[0]
    ids = [text for _, text in lines(lists[name])]
    texts = _read_captions(captions, frozenset(ids))
    return texts.content("COCO-CN", name, "coco-cn", Files.locate(ids, SUFFIXES, [folder]))


def read_flickr30k_cn(folder: Path, split: str | None) -> Content | None:
    """Flickr30k-CN as published: `flickr30kzhmbosontest/{ImageSets,TextData}` with segmented and tagged captions
    (`1007129816#zhm#0 一个:m 男人:n`), which are joined again; Flickr30k's images anywhere below, or beside it.

    Also the single files of Flickr30k-CNA (`test/flickr30k_cn_test.txt`, `1007129816.jpg#0<TAB>文本`).
    """
    files = sorted({*folder.glob("TextData/seg.*.caption.txt"), *folder.glob("*/TextData/seg.*.caption.txt")})
    files = files or sorted({*folder.glob("flickr30k_cn*.txt"), *folder.glob("*/flickr30k_cn*.txt")})
    by_split = {
        match[1]: path for path in files if (match := re.search(r"(train|val|test)(?:\.caption)?\.txt$", path.name))
    }
    if not by_split:
        return None
    name = choose(split, by_split, folder)[0]
    texts = _read_captions(by_split[name])
    images = sorted((by_split[name].parent.parent / "ImageSets").glob("*.txt"))
    ids = [text for _, text in lines(images[0])] if images else dict.fromkeys(row[2][0] for row in texts.rows.values())
    roots = [folder, folder.resolve().parent] if (folder / "TextData").is_dir() else [folder]
    return texts.content("Flickr30k-CN", name, "flickr30k-cn", Files.locate(list(ids), SUFFIXES, roots))


def _read_captions(path: Path, only: frozenset[str] | None = None) -> Texts:
    """Lines of IMAGE#zhm#NUMBER, white space, caption; those of images in `only`."""
    texts, segmented = Texts(), is_segmented(path.name)
    for number, line in lines(path):
        caption = parse_line(line)
        if caption is None:
            raise EvaluationSetError(
                f"{path}:{number}: expected IMAGE#NUMBER, a tab or space, a caption; found {shown(line)}"
            )
        if only is None or caption.id.image in only:
            text = unsegmented(caption.text) if segmented else caption.text
            texts.add(caption.written_id, text, [caption.id.image], f"{path}:{number}")
    return texts


def read_folder(folder: Path, split: str | None) -> Content | None:
    """Images, and `captions.jsonl` of {"image": FILE or [FILE, …], "text": …} lines; equal texts are one text with all of
    their images. Files are looked for in the folder and two folders deep.
    """
    path = folder / "captions.jsonl"
    if not path.exists():
        return None
    _no_splits(split, path)
    texts = Texts(merge=True)
    for number, line in lines(path):
        row = parse_object(line, f"{path}:{number}")
        images = [row["image"]] if isinstance(row.get("image"), str) else row.get("image")
        if not isinstance(images, list) or not isinstance(row.get("text"), str):
            raise EvaluationSetError(f'{path}:{number}: expected {{"image": FILE, "text": …}}; found {shown(line)}')
        texts.add(str(number), row["text"].strip(), map(str, images), f"{path}:{number}")
    ids = list(dict.fromkeys(name for row in texts.rows.values() for name in row[2]))
    return texts.content("folder", None, None, Files.locate(ids, ("",), [folder]))


def read_published(folder: Path, split: str | None) -> Content | None:
    """A folder that zhclip published: tars and their Parquet index, as manifest.json names them. Equal images (SHA-256) are
    one image with all of their captions, and equal captions one text with all of their images.
    """
    manifest = folder / "manifest.json"
    if not manifest.exists():
        return None
    _no_splits(split, manifest)
    shards = parse_object(manifest.read_text(encoding="utf-8"), str(manifest)).get("shards")
    if not isinstance(shards, list):
        raise EvaluationSetError(f"{manifest}: expected a list `shards`, as zhclip publishes it")
    texts, images, keys = Texts(merge=True), dict[str, tuple[Path, int, int]](), dict[str, str]()
    for path in (folder / name for shard in shards for name in shard["files"] if name.endswith(".parquet")):
        for row in _read_index(path):
            key = keys.setdefault(row["image_sha256"], row["key"])
            images.setdefault(key, (folder / row["tar"], row["offset"], row["length"]))
            texts.add(row["key"], row["caption"], [key], f"{path}: {row['key']}")
    return texts.content("zhclip", None, None, TarMembers(tuple(images), tuple(images.values())))


def _read_index(path: Path) -> list[dict[str, Any]]:
    try:
        missing = [name for name in COLUMNS if name not in pq.read_schema(path).names]
    except (OSError, pa.ArrowInvalid) as error:
        raise EvaluationSetError(f"{path}: expected a Parquet index of zhclip; {error}") from error
    if missing:
        raise EvaluationSetError(f"{path}: expected the columns of zhclip's index; {', '.join(missing)} missing")
    return pq.read_table(path, columns=list(COLUMNS)).to_pylist()


def choose(split: str | None, splits: Iterable[str], path: Path) -> Sequence[str]:
    """The splits to try, in order; `val` and `valid` are one.

    Raises:
        EvaluationSetError: the split is not there, or no split is.
    """
    names = sorted(splits, key=lambda name: SPLITS.index(name) if name in SPLITS else len(SPLITS))
    if split is not None:
        names = [name for name in names if {name, split} <= {"val", "valid"} or name == split]
    if not names:
        raise EvaluationSetError(
            f"{path}: expected split {split or 'test'}; found {', '.join(sorted(splits)) or 'none'}"
        )
    return names


def parse_object(text: str, location: str) -> dict[str, Any]:
    """A JSON object; raises EvaluationSetError on anything else."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise EvaluationSetError(f"{location}: expected JSON ({error}); found {shown(text)}") from None
    if not isinstance(content, dict):
        raise EvaluationSetError(f"{location}: expected a JSON object; found {shown(text)}")
    return content


def _below(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, *sorted(folder.glob(f"*/{name}"))) if path.exists()), None)


def _no_splits(split: str | None, path: Path) -> None:
    if split is not None:
        raise EvaluationSetError(f"{path}: this layout has no splits; found split {split} asked for")
