"""Files by path or glob, wherever fsspec reaches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from foundation.errors import InvalidInput
from foundation.lazy import fsspec

MAGIC = frozenset("*?[")


class NoSuchFiles(InvalidInput, ValueError):
    """A path or glob that matches nothing, or cannot be listed."""


def find_files(patterns: Sequence[str]) -> list[str]:
    """The files that paths and globs name, each once, sorted within a glob; remote ones keep their protocol.

    A file that exists under just that name is meant, whatever characters are in it; the same goes for the leading folders
    of a glob.

    Raises:
        NoSuchFiles: a pattern matches no file, or its file system does not answer.
    """
    files: dict[str, None] = {}
    for pattern in patterns:
        names = _names(pattern)
        if not names:
            raise NoSuchFiles(f"{pattern} matches no file")
        files.update(dict.fromkeys(names))
    return list(files)


def open_file(path: str) -> BinaryIO:
    """Opens a file for reading, unpacking .gz, .bz2, .xz and .zst by name."""
    filesystem, name = _located(path)
    return filesystem.open(name, "rb", compression="infer")


def size_of(path: str) -> int:
    """Bytes of a file as stored."""
    filesystem, name = _located(path)
    return int(filesystem.size(name) or 0)


def is_damage(error: Exception, path: str) -> bool:
    """Whether an error says that a file itself is broken, so that trying again is of no use.

    A remote that does not answer is no damage. Arrow reports damage as ValueError, or as OSError without a number.
    """
    filesystem, _ = _located(path)
    says_so = isinstance(error, ValueError | KeyError) or (type(error) is OSError and error.errno is None)
    return says_so or _is_local(filesystem)


def _located(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """File system and name of a path; one that exists on this machine is never read as a url (`a::b.csv`, `~a.csv`)."""
    if "://" not in path and Path(path).exists():
        return fsspec.filesystem("file"), str(Path(path).absolute())
    return fsspec.url_to_fs(path)


def _is_local(filesystem: fsspec.AbstractFileSystem) -> bool:
    from fsspec.implementations.local import LocalFileSystem  # loads fsspec, which nothing here needs before

    return isinstance(filesystem, LocalFileSystem)


def _names(pattern: str) -> list[str]:
    try:
        filesystem, path = _located(pattern)
        if not MAGIC & set(path) or filesystem.isfile(path):
            names = [path] * filesystem.isfile(path)
        else:
            names = sorted(filesystem.glob(_folders_taken_literally(filesystem, path)))
    except Exception as error:  # each kind of remote has errors of its own
        raise NoSuchFiles(f"{pattern} cannot be listed: {type(error).__name__}: {error}") from error
    return [_as_given(filesystem, name, pattern, path) for name in names]


def _folders_taken_literally(filesystem: fsspec.AbstractFileSystem, path: str) -> str:
    """A glob whose leading folders, as far as they exist under just that name, match only themselves."""
    parts = path.split("/")
    escaped = list(parts)
    for i, part in enumerate(parts[:-1]):
        if MAGIC & set(part):
            if not filesystem.isdir("/".join(parts[: i + 1])):
                break
            escaped[i] = "".join(f"[{character}]" if character in MAGIC else character for character in part)
    return "/".join(escaped)


def _as_given(filesystem: fsspec.AbstractFileSystem, name: str, pattern: str, path: str) -> str:
    if not _is_local(filesystem):
        return str(filesystem.unstrip_protocol(name))
    if pattern.startswith("/") or "://" in pattern:
        return name
    root = path[: len(path) - len(pattern)]  # a relative path became absolute
    return name.removeprefix(root) if path.endswith(pattern) else name
