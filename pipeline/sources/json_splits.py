"""Divides large JSON files into splits that are little to translate, without holding them in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pipeline.sources.files import is_damage, open_file
from pipeline.sources.json_items import JsonItems
from pipeline.sources.splits import Split

Measure = Callable[[Any], tuple[int, int]]
"""An item → how many rows and how many texts it makes; what is no such item makes a malformed row."""


def json_splits(
    source: str, file: str, file_format: str, texts_per_split: int, arrays: Sequence[str], measure: Measure
) -> Iterator[Split]:
    """Splits of about `texts_per_split` texts each, of the items of the last of `arrays`, all of which the file must have.

    An outermost array has the name "". The file is read through once. Where it is damaged, what comes before makes splits,
    and one with a `problem` ends them.

    Raises:
        OSError: a remote file system does not answer.
    """
    pieces: list[list[int]] = []
    problem = ""
    try:
        with open_file(file) as handle:
            _measure_pieces(JsonItems(handle), texts_per_split, arrays, measure, pieces)
    except (OSError, ValueError) as error:
        if not is_damage(error, file):
            raise
        problem = f"{type(error).__name__}: {error}"
    first = 0
    for rows, start in pieces:
        if rows:
            yield Split(source, file, file_format, first, rows, rows, start=start)
        first += rows
    if problem:
        yield Split(source, file, file_format, first, None, 0, problem=problem)


def _measure_pieces(
    reader: JsonItems, texts_per_piece: int, arrays: Sequence[str], measure: Measure, pieces: list[list[int]]
) -> None:
    """Add [rows, first byte] of each piece of a file to `pieces`; ValueError where the file ends them by damage."""
    names = []
    for name, items in reader.arrays():
        names.append(name)
        if name != arrays[-1]:
            continue
        pieces.append([0, reader.offset])
        texts = 0
        for item in items:
            item_rows, item_texts = measure(item)
            pieces[-1][0] += item_rows
            texts += item_texts
            if texts >= texts_per_piece:
                pieces.append([0, reader.offset])
                texts = 0
    if missing := sorted(set(arrays) - set(names)):
        raise ValueError(f"expected an array {missing}; the file has {names or 'none'}")
