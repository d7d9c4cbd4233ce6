"""Files of translations: id → 中文, in the forms in which they are published.

    name ends in       one entry
    .json              {id: text}; [{"id": …, "caption": …}]; or COCO's {"annotations": [{"id": …, "caption": …}]}
    .jsonl, .ndjson    {"id": …, "caption": …} a line
    .csv, .tsv         id and text, or columns named so in a header line
    anything else      COCO-CN's own `COCO_val2014_000000391895#0<TAB>文本` (white space will do); segmented and tagged ones
                       (`*.bosonseg.txt`, `seg.*`) are joined again

An id column is called id, caption_id, annotation_id or region_id; a text column zh, chinese, translation, caption, text or
phrase. A packed file (.gz, .bz2, .xz, .zst) is unpacked.
"""

from __future__ import annotations

import csv
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, BinaryIO

from foundation.errors import InvalidInput
from foundation.formats.captions import is_segmented, parse_id, unsegmented
from foundation.formats.lines import FormatError, numbered_lines
from foundation.text import shown
from pipeline.sources.files import NoSuchFiles, find_files, open_file
from pipeline.sources.translation.config import Translation
from pipeline.sources.translation.text import one_line, to_simplified

ID_NAMES = ("id", "caption_id", "annotation_id", "region_id")
TEXT_NAMES = ("zh", "chinese", "translation", "caption", "text", "phrase")  # the first that is there

Entry = tuple[str, object, object]  # FILE:LINE or like it, id, text


class TranslationFileError(InvalidInput, ValueError):
    """A file of translations that cannot be used; the message names the file, the place, and what was expected."""


def load_translations(paths: Sequence[str], simplified: bool = False) -> dict[str, str]:
    """Translations by id, of files named by paths or globs; of two files with one id, the earlier file counts.

    An id of COCO-CN's form comes without language mark and ending: `COCO_val2014_000000391895.jpg#zhm#0` is
    `COCO_val2014_000000391895#0`, and lines marked as English (`#enm#0`) are left out. A number as id becomes text. Empty
    texts are left out; white space within a text becomes single spaces, and where `simplified` is asked for, traditional
    characters become simplified. (COCO-CN's *human-written* captions are no
    translations: their numbers count the captions of an image, not COCO's.)

    Raises:
        TranslationFileError: a file is missing or empty, or holds something else in some line, or two texts for one id.
    """
    try:
        files = find_files(paths)
    except NoSuchFiles as error:
        raise TranslationFileError(str(error)) from None
    texts: dict[str, str] = {}
    for path in files:
        for name, text in _load(path).items():
            texts.setdefault(name, text)
    return {name: to_simplified(text) for name, text in texts.items()} if simplified else texts


_loading = threading.Lock()


def known_translations(translation: Translation) -> Mapping[str, str]:
    """The texts of a source's translation files, by id; read once per process.

    Raises:
        TranslationFileError: a file cannot be used.
    """
    if not translation.files:
        return {}
    with _loading:  # without it, two threads would hold the same millions of texts twice
        return _cached(translation.files, translation.simplified)


@lru_cache(maxsize=2)
def _cached(files: tuple[str, ...], simplified: bool) -> dict[str, str]:
    return load_translations(files, simplified)


def _load(path: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    segmented = is_segmented(path)
    for location, given_id, given_text in _entries(path):
        name, text = _id(given_id, location), _text(given_text, location)
        if name is None or not text:
            continue
        text = unsegmented(text) if segmented else text
        if texts.setdefault(name, text) != text:
            raise TranslationFileError(f"{location}: a second translation of {name}: {text!r}; before: {texts[name]!r}")
    if not texts:
        raise TranslationFileError(f"{path}: expected translations; found none")
    return texts


def _entries(path: str) -> Iterator[Entry]:
    name = re.sub(r"\.(gz|bz2|xz|zst)$", "", path.lower())
    readers: dict[str, Callable[[str, BinaryIO], Iterator[Entry]]] = {
        "json": _read_json,
        "jsonl": _read_jsonl,
        "ndjson": _read_jsonl,
        "csv": _read_csv,
        "tsv": _read_lines,
    }
    try:
        with open_file(path) as file:
            yield from readers.get(name.rsplit(".", 1)[-1], _read_lines)(path, file)
    except (OSError, EOFError) as error:
        raise TranslationFileError(f"{path}: cannot be read: {error}") from None


def _read_json(path: str, file: BinaryIO) -> Iterator[Entry]:
    try:
        content = json.loads(file.read().decode("utf-8-sig"))
    except ValueError as error:
        raise TranslationFileError(f"{path}: expected JSON: {error}") from None
    if isinstance(content, dict) and not isinstance(content.get("annotations"), list):
        yield from ((f"{path}: entry {name!r}", name, text) for name, text in content.items())
        return
    rows, label = (content["annotations"], "annotations") if isinstance(content, dict) else (content, "")
    if not isinstance(rows, list):
        raise TranslationFileError(f"{path}: expected an object or a list; found {shown(content)}")
    for number, row in enumerate(rows):
        yield _of_object(row, f"{path}: {label}[{number}]")


def _read_jsonl(path: str, file: BinaryIO) -> Iterator[Entry]:
    for location, line in _lines(path, file):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise TranslationFileError(f"{location}: expected JSON ({error}); found {shown(line)}") from None
        yield _of_object(row, location)


def _of_object(row: object, location: str) -> Entry:
    if isinstance(row, Mapping):
        id_name, text_name = _first(ID_NAMES, row), _first(TEXT_NAMES, row)
        if id_name and text_name:
            return location, row[id_name], row[text_name]
    raise TranslationFileError(
        f"{location}: expected an object with {' or '.join(ID_NAMES)}, and {' or '.join(TEXT_NAMES)}; found {shown(row)}"
    )


def _read_csv(path: str, file: BinaryIO) -> Iterator[Entry]:
    locations: list[str] = []

    def texts() -> Iterator[str]:
        for location, line in _lines(path, file, keep_blank=True):
            locations[:] = [location]  # of the last line of a row, which may have several
            yield line + "\n"

    yield from _of_rows((locations[0], row) for row in csv.reader(texts()) if row)


def _read_lines(path: str, file: BinaryIO) -> Iterator[Entry]:
    """An id, a tab, a text; without a tab, the first white space separates them."""
    yield from _of_rows(
        (location, line.split("\t") if "\t" in line else line.split(None, 1)) for location, line in _lines(path, file)
    )


def _of_rows(rows: Iterable[tuple[str, list[str]]]) -> Iterator[Entry]:
    """Entries of rows of cells: by the names in the first row, where it holds names, else the first cell and the second."""
    columns: tuple[int, int] | None = None
    cells = 2  # in a row without names
    for location, row in rows:
        if columns is None:
            names = {cell.strip().lower(): number for number, cell in enumerate(row)}
            id_name, text_name = _first(ID_NAMES, names), _first(TEXT_NAMES, names)
            columns = (names[id_name], names[text_name]) if id_name and text_name else (0, 1)
            if id_name and text_name:
                cells = len(row)
                continue
        if len(row) != cells:
            raise TranslationFileError(
                f"{location}: expected {cells} cells with an id and a text; found {len(row)}: {shown(row)}"
            )
        yield location, row[columns[0]], row[columns[1]]


def _lines(path: str, file: BinaryIO, keep_blank: bool = False) -> Iterator[tuple[str, str]]:
    """FILE:LINE and the line without its end."""
    try:
        for number, line in numbered_lines(file, path, keep_blank):
            yield f"{path}:{number}", line
    except FormatError as error:
        raise TranslationFileError(str(error)) from None


def _id(given: object, location: str) -> str | None:
    """The id as a caption is looked up by; None for one that is marked as English."""
    if isinstance(given, bool) or not isinstance(given, str | int) or not str(given).strip():
        raise TranslationFileError(f"{location}: expected text or a whole number as id; found {shown(given)}")
    caption_id = parse_id(str(given).strip())
    if caption_id is None:
        return str(given).strip()
    return None if caption_id.is_english else caption_id.plain


def _text(given: object, location: str) -> str:
    if given is not None and not isinstance(given, str):
        raise TranslationFileError(f"{location}: expected text as the translation; found {shown(given)}")
    return one_line(given or "")


def _first(names: Sequence[str], columns: Mapping[str, Any]) -> str | None:
    return next((name for name in names if name in columns), None)
