"""Evaluation images that must not be in a training set, matched by the ids that data sets share.

The rule stands with the sources and not in `filters`, because its lists are files of data sets: Karpathy's splits, and the
lists of COCO-CN and Flickr30k. `load_eval_ids` is also what a run asks before it begins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache, reduce
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc

from filters.base import Filter
from foundation.config import Config, value
from foundation.errors import InvalidInput
from pipeline.sources.files import find_files, open_file

Match = Literal["coco_id", "flickr_id"]
REASONS: dict[str, str] = {"test_set_NAME": "the image is in the evaluation set NAME, by its id in COCO or Flickr30k"}
"""`test_set_NAME` stands for one code per list."""

COCO_NAME = re.compile(r"COCO_(?:train|val|test)\d{4}_0*(\d+)(?:\.jpe?g)?(?:#.*)?", re.IGNORECASE)
NUMBER = re.compile(r"0*(\d+)(?:\.jpe?g)?(?:#.*)?", re.IGNORECASE)


class EvalIdList(Config):
    """Images of an evaluation set, by id: a Karpathy split, COCO-CN's lists, Flickr30k's, or plain ids."""

    files: tuple[str, ...] = value(
        ...,
        "Karpathy's dataset_coco.json or dataset_flickr30k.json; coco-cn_test.txt (COCO_val2014_000000…); or a number a line",
        min_length=1,
    )
    splits: tuple[Literal["train", "val", "test"], ...] = value(
        ("val", "test"), "of a Karpathy split, the parts that must not be used (restval is for training)"
    )
    match: Match | None = value(
        None, "what the numbers are: coco_id or flickr_id; null: as the file says (plain numbers do not say)"
    )


class EvalIdError(InvalidInput, ValueError):
    """A list of test images that cannot be used; the message names the file, the place, and what was expected."""


class EvalIds(Filter):
    """Rejects pairs whose image is in one list of evaluation images. A null id is in no list."""

    columns: ClassVar[tuple[str, ...]] = ("coco_id", "flickr_id")
    name: str
    id_list: EvalIdList

    @property
    def reasons(self) -> Mapping[str, str]:  # type: ignore[override]
        """One code a list, so that each is counted by itself."""
        return {f"test_set_{self.name}": REASONS["test_set_NAME"]}

    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """True where the image's id stands in the list."""
        ids_by_column = load_eval_ids(self.id_list)
        masks = [pc.is_in(pairs[column], ids, skip_nulls=True) for column, ids in ids_by_column.items()]
        return {f"test_set_{self.name}": reduce(pc.or_, masks)}


@lru_cache(maxsize=32)
def load_eval_ids(id_list: EvalIdList) -> dict[Match, pa.Array]:
    """The ids that the files of a list hold, int64, ascending, by the column to match.

    Raises:
        EvalIdError: a file holds something else, no id at all, or numbers of which nothing says what they are.
        NoSuchFiles: a file is missing.
    """
    numbers_by_column: dict[Match, set[int]] = {}
    for path in find_files(id_list.files):
        ids = list(_read(path, id_list))
        if not ids:
            raise EvalIdError(f"{path}: expected ids of images; found none")
        for match, number in ids:
            numbers_by_column.setdefault(match, set()).add(number)
    return {match: pa.array(sorted(numbers), pa.int64()) for match, numbers in numbers_by_column.items()}


def _read(path: str, id_list: EvalIdList) -> Iterator[tuple[Match, int]]:
    with open_file(path) as file:
        content = file.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise EvalIdError(f"{path}: expected text in UTF-8; {error}") from error
    if text.lstrip()[:1] in ("{", "["):
        return _of_karpathy(path, text, id_list)
    return _of_lines(path, text, id_list.match)


def _of_karpathy(path: str, text: str, id_list: EvalIdList) -> Iterator[tuple[Match, int]]:
    try:
        content = json.loads(text)
        images = content["images"]
    except (ValueError, TypeError, KeyError) as error:
        raise EvalIdError(
            f"{path}: expected a Karpathy split, {{'images': [{{'cocoid', 'split'}}]}}; {error!r}"
        ) from error
    for number, image in enumerate(images):
        location = f"{path}: images[{number}]"
        if not isinstance(image, dict) or "split" not in image:
            raise EvalIdError(
                f"{location}: expected an object with `split` and `cocoid` or `filename`; found {image!r:.80}"
            )
        if image["split"] in id_list.splits:
            yield _of_image(location, image, id_list.match)


def _of_image(location: str, image: dict[str, Any], match: Match | None) -> tuple[Match, int]:
    if match != "flickr_id" and isinstance(image.get("cocoid"), int):
        return "coco_id", image["cocoid"]
    number = NUMBER.fullmatch(str(image.get("filename", "")))
    if number is None or match == "coco_id":
        raise EvalIdError(
            f"{location}: expected `cocoid`, or a `filename` that is Flickr's number; found {image!r:.80}"
        )
    return "flickr_id", int(number[1])


def _of_lines(path: str, text: str, match: Match | None) -> Iterator[tuple[Match, int]]:
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        named, plain = COCO_NAME.fullmatch(line), NUMBER.fullmatch(line)
        if named and match != "flickr_id":
            yield "coco_id", int(named[1])
        elif plain and match:
            yield match, int(plain[1])
        elif plain:
            raise EvalIdError(f"{path}:{number}: {line!r:.80} may be an id of COCO or of Flickr: state `match`")
        else:
            raise EvalIdError(f"{path}:{number}: expected an id such as COCO_val2014_000000391895; found {line!r:.80}")
