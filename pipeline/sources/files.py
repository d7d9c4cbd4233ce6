"""Files by path or glob, wherever fsspec reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import fsspec
import fsspec.core

from foundation.errors import InvalidInput


class NoSuchFiles(InvalidInput, ValueError):
    """A path or glob that matches nothing, or cannot be listed."""


def find_files(patterns: Sequence[str]) -> list[str]:
    """The files that paths and globs name, each once, sorted within a glob; remote ones keep their protocol.

    Raises:
        NoSuchFiles: a pattern matches no file, or its file system does not answer.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        names = _names(pattern)
        if not names:
            raise NoSuchFiles(f"{pattern} matches no file")
        found.update(dict.fromkeys(names))
    return list(found)


def _names(pattern: str) -> list[str]:
    try:
        filesystem, path = fsspec.core.url_to_fs(pattern)
        names = sorted(filesystem.glob(path)) if set("*?[") & set(path) else [path] * filesystem.isfile(path)
    except Exception as error:  # each kind of remote has errors of its own
        raise NoSuchFiles(f"{pattern} cannot be listed: {type(error).__name__}: {error}") from error
    return [_as_given(filesystem, name, pattern, path) for name in names]


def is_damage(error: Exception, path: str) -> bool:
    """Whether an error says that a file itself is broken, so that trying again is of no use.

    A remote that does not answer is no damage. Arrow reports damage as ValueError, or as OSError without a number.
    """
    filesystem, _ = fsspec.core.url_to_fs(path)
    local = "local" in filesystem.protocol or "file" in filesystem.protocol
    return isinstance(error, ValueError | KeyError) or local or (type(error) is OSError and error.errno is None)


def open_file(path: str) -> BinaryIO:
    """Opens a file for reading, unpacking .gz, .bz2, .xz and .zst by name."""
    return fsspec.open(path, "rb", compression="infer").open()


def size_of(path: str) -> int:
    """Bytes of a file as stored."""
    filesystem, name = fsspec.core.url_to_fs(path)
    return int(filesystem.size(name) or 0)


def _as_given(filesystem: fsspec.AbstractFileSystem, name: str, pattern: str, path: str) -> str:
    if "local" not in filesystem.protocol and "file" not in filesystem.protocol:
        return str(filesystem.unstrip_protocol(name))
    if pattern.startswith("/") or "://" in pattern:
        return name
    root = path[: len(path) - len(pattern)]  # url_to_fs made a relative path absolute
    return name.removeprefix(root) if path.endswith(pattern) else name
