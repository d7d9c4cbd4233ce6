"""Where a run lies: names and bytes. What a run needs of a disk or an object store, and nothing more.

Names are relative to the storage, with `/` between their parts. There is no lock, rename, append, or folder to make: whoever
writes a name first is settled by `create`, and everything else has a name that no two writers give different bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from errno import EACCES, ENOTDIR, EPERM, EROFS
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from foundation.errors import EXIT_INVALID, WorkFailed

if TYPE_CHECKING:
    import pyarrow as pa


NOT_FOR_US = {EACCES, EPERM, EROFS, ENOTDIR}  # another place has to be named, or its rights changed


class StorageError(WorkFailed):
    """A storage that does not answer, refuses, or is full; `errno` is the system's number, where it gave one."""

    def __init__(self, message: str, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno
        if errno in NOT_FOR_US:
            self.exit_code = EXIT_INVALID


@dataclass(frozen=True)
class Entry:
    """One name of a listing."""

    name: str
    bytes: int
    version: str  # differs between two contents of one name; of no meaning beyond that


@runtime_checkable
class Storage(Protocol):
    """A place for the files of a run. Picklable; safe to use from several threads and processes at a time.

    Raises (every method):
        StorageError: the storage does not answer, refuses, or is full; the message names it and the file.
        ValueError: a name that no storage takes (`foundation.storage.names.checked`): a fault of the program.
    """

    @property
    def address(self) -> str:
        """The folder or url, as people write it, without a slash at its end."""
        ...

    def create(self, name: str, content: bytes) -> bool:
        """Write a small file (at most 1 MiB) where there is none: of all who try, exactly one gets True. Durable on return.

        That holds across broken connections where the content is unique to the caller, since whose file it is, is then settled
        by reading it back. Where all callers write the same content, more than one may get True after a broken connection.
        """
        ...

    def put(self, name: str, content: bytes | Path, durable: bool = True) -> None:
        """Write a file, whole or not at all; one that is there is replaced: a reader sees the old content or the new.

        Args:
            content: a `Path` is a finished local file of any size, which may be gone afterwards (moved, where that is the
                cheapest).
            durable: on return; else it may be lost with the machine's power.
        """
        ...

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes of a file from `start` up to `end` (by default all); fewer, or none, where it ends before.

        Raises:
            FileNotFoundError: there is none.
        """
        ...

    def open(self, name: str) -> pa.NativeFile:
        """A file to read at random, as pyarrow takes it. Raises FileNotFoundError; a later read raises OSError or StorageError."""
        ...

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file to a local path, whatever its size. Raises FileNotFoundError."""
        ...

    def copy(self, name: str, target: str) -> None:
        """Give the content of a file a second name, replacing what has it, without moving bytes through this machine where
        that can be done. Durable on return. Raises FileNotFoundError."""
        ...

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every file whose name begins with `prefix` ("" or a folder with its `/`), at any depth, in order of their names.

        The order is that of code points over the whole name. Files that come or go meanwhile are in it or not.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove a file; no error where there is none."""
        ...

    def scratch(self) -> Path:
        """An existing local folder for files in the making, on the file system from which `put` costs least. Whoever makes a
        folder in it removes it."""
        ...
