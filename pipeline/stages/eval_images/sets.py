"""The images of an evaluation set: ids and bytes, from the layouts that such sets are published in. Captions do not matter here."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from foundation.errors import InvalidInput
from foundation.formats.base64_tsv import read_rows
from foundation.formats.lines import numbered_lines
from foundation.text import counted
from pipeline.recipe.images import EvalImageSet

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


class EvalImagesError(InvalidInput, ValueError):
    """A test set that cannot be read; the message names the place, what was expected and what was found."""


def find_images(config: EvalImageSet) -> list[Path]:
    """The files that hold the set's images: tsv files, one zip, or image files in order of their paths.

    Raises:
        EvalImagesError: there are none, or an image that `only` names is not among them.
    """
    path = Path(config.path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise EvalImagesError(f"{path}: expected a folder, a zip or a *_imgs.tsv of test images; found nothing")
    tables = sorted(path.glob("*_imgs.tsv"))
    if tables:
        named = [table for table in tables if table.name.removesuffix("_imgs.tsv").rsplit("_", 1)[-1] in config.splits]
        if not named:
            names = ", ".join(table.name for table in tables)
            raise EvalImagesError(f"{path}: expected *_imgs.tsv of {' or '.join(config.splits)}; found {names}")
        return named
    files = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES and file.is_file()]
    return _only(files, config)


def read_images(config: EvalImageSet) -> Iterator[tuple[str, bytes]]:
    """Id and encoded bytes of each image; one is in memory at a time.

    Raises:
        EvalImagesError: see `find_images`.
        FormatError: a row of a table is not id, tab, base64.
    """
    for path in find_images(config):
        if path.suffix.lower() == ".tsv":
            yield from read_rows(path)
        elif path.suffix.lower() == ".zip":
            yield from _members(path, config)
        elif path.suffix.lower() in SUFFIXES:
            yield path.stem, path.read_bytes()
        else:
            raise EvalImagesError(f"{path}: expected .tsv, .zip or an image; found {path.suffix or 'no ending'}")


def _members(path: Path, config: EvalImageSet) -> Iterator[tuple[str, bytes]]:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise EvalImagesError(f"{path}: expected a zip of images ({error})") from None
    with archive:
        names = [PurePosixPath(name) for name in sorted(archive.namelist())]
        for name in _only([name for name in names if name.suffix.lower() in SUFFIXES], config):
            yield name.stem, archive.read(str(name))


def _only(files: list[Any], config: EvalImageSet) -> list[Any]:
    """Those that the lists name, with or without an ending; all where there is no list."""
    if config.only:
        wanted = {line: path for path in config.only for line in _lines(path)}
        known = {name for file in files for name in (file.name, file.stem)}
        missing = [name for name in wanted if name not in known]
        if missing:
            raise EvalImagesError(
                f"{config.path}: {len(missing):,} of {counted(len(wanted), 'image')} cannot be found, such as {missing[0]}, which "
                f"{wanted[missing[0]]} names"
            )
        files = [file for file in files if file.name in wanted or file.stem in wanted]
    if not files:
        raise EvalImagesError(f"{config.path}: expected images ({', '.join(SUFFIXES)}) or *_imgs.tsv; found none")
    return files


def _lines(path: str) -> list[str]:
    try:
        with Path(path).open("rb") as file:
            return [line.strip() for _, line in numbered_lines(file, path)]
    except OSError as error:
        raise EvalImagesError(f"{path}: expected a list of image names ({error.strerror})") from None
