"""Where an evaluation set's images lie: rows of base64, files, or members of tars. None of them holds more than one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from foundation.errors import InvalidInput
from foundation.formats.base64_tsv import decode, scan_rows
from foundation.formats.lines import FormatError, numbered_lines


class EvaluationSetError(InvalidInput, ValueError):
    """An evaluation set that cannot be read; the message names file, line and what was expected."""


class ImageSource(Protocol):
    """Encoded images in a fixed order."""

    @property
    def ids(self) -> Sequence[str]:
        """One per image, all different."""

    def read(self) -> Iterator[bytes]:
        """The encoded images, in the order of `ids`."""


@dataclass(frozen=True)
class Base64Rows:
    """A `*_imgs.tsv`: id, tab, image in base64 (URL-safe or standard, with or without padding). Read row by row."""

    path: Path
    ids: tuple[str, ...]
    places: tuple[tuple[int, int], ...]  # line number from 1, and byte offset of the base64

    @classmethod
    def scan(cls, path: Path) -> Base64Rows:
        """Learns ids and offsets; the images themselves are read later.

        Raises:
            EvaluationSetError: a row without a tab, or an id that came before.
        """
        places: dict[str, tuple[int, int]] = {}
        try:
            for image, line, offset in scan_rows(path):
                if image in places:
                    raise EvaluationSetError(
                        f"{path}:{line}: image {image} has been in line {places[image][0]} already"
                    )
                places[image] = (line, offset)
        except FormatError as error:
            raise EvaluationSetError(str(error)) from None
        return cls(path, tuple(places), tuple(places.values()))

    def read(self) -> Iterator[bytes]:
        """The decoded rows; raises FormatError on one that is no base64."""
        with self.path.open("rb") as file:
            for number, offset in self.places:
                file.seek(offset)
                yield decode(file.readline(), f"{self.path}:{number}")


@dataclass(frozen=True)
class Files:
    """One file per image."""

    ids: tuple[str, ...]
    paths: tuple[Path, ...]

    @classmethod
    def locate(cls, ids: Sequence[str], suffixes: Sequence[str], roots: Sequence[Path]) -> Files:
        """Finds `id + suffix` in one of `roots` or two folders deep in it.

        Raises:
            EvaluationSetError: an image is nowhere; the message names it and the folders that were searched.
        """
        folders = list(dict.fromkeys(folder for root in roots for folder in _folders(root, depth=2)))
        paths = []
        for name in ids:
            match = _first_existing(folders, [name + suffix for suffix in suffixes])
            if match is None:
                searched = ", ".join(map(str, folders[:6])) + (" …" if len(folders) > 6 else "")
                raise EvaluationSetError(
                    f"image {name}{suffixes[0]} is not in {searched}; expected the images, or a link to their folder"
                )
            folders.insert(0, folders.pop(match[0]))  # its neighbours are likely to be in the same folder
            paths.append(match[1])
        return cls(tuple(ids), tuple(paths))

    def read(self) -> Iterator[bytes]:
        """The files' bytes."""
        return (path.read_bytes() for path in self.paths)


@dataclass(frozen=True)
class TarMembers:
    """Images inside uncompressed tars, by byte offset and length, as zhclip's index names them."""

    ids: tuple[str, ...]
    places: tuple[tuple[Path, int, int], ...]

    def read(self) -> Iterator[bytes]:
        """The members' bytes; raises EvaluationSetError where a tar ends too early."""
        current: Path | None = None
        file: BinaryIO | None = None
        try:
            for path, offset, length in self.places:
                if path != current:
                    if file:
                        file.close()
                    current, file = path, path.open("rb")
                assert file is not None
                file.seek(offset)
                content = file.read(length)
                if len(content) < length:
                    raise EvaluationSetError(f"{path}: expected {length} bytes at {offset}; found {len(content)}")
                yield content
        finally:
            if file:
                file.close()


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank, without white space around; raises EvaluationSetError on what is not UTF-8."""
    try:
        with path.open("rb") as file:
            yield from ((number, line.strip()) for number, line in numbered_lines(file, str(path)))
    except FormatError as error:
        raise EvaluationSetError(str(error)) from None


def _folders(root: Path, depth: int) -> Iterable[Path]:
    yield root
    if depth:
        for child in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
            yield from _folders(child, depth - 1)


def _first_existing(folders: Sequence[Path], names: Sequence[str]) -> tuple[int, Path] | None:
    candidates = ((number, folder / name) for number, folder in enumerate(folders) for name in names)
    return next((candidate for candidate in candidates if candidate[1].is_file()), None)
