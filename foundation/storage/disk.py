"""A folder of a local or network file system as a storage."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from foundation.storage.base import Entry, StorageError
from foundation.storage.names import checked, checked_prefix, checked_range

if TYPE_CHECKING:
    import pyarrow as pa

WRITING = ".writing-"
"""How the names of files begin that are being written; one that is left was its writer's, who was killed."""
SCRATCH = ".attempts"
"""The folder of a disk in which attempts that are not committed yet have their own."""

_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_WITHOUT_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_REMEDIES = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there, or raise the quota",
    errno.EFBIG: "raise the limit on a file's size (ulimit -f)",
    errno.EACCES: "give this user the right to read and write there",
    errno.EPERM: "give this user the right to read and write there",
    errno.EROFS: "mount it for writing, or take another folder",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENAMETOOLONG: "take a folder with a shorter path",
}


@dataclass(frozen=True)
class Disk:
    """Files below a folder, which need not exist yet. Links to folders are followed, so parts of it may lie on other disks.

    Every file is written beside its final name, flushed, and then linked or renamed: so no rename crosses file systems, and a
    process killed anywhere leaves at most a file named `.writing-…`. Needs a file system with hard links, or with renames that
    replace nothing: any local one, and NFS.
    """

    folder: Path

    @property
    def address(self) -> str:
        return str(self.folder)

    def create(self, name: str, content: bytes) -> bool:
        path = self._path(name)
        with self._errors("be written", name):
            with _beside(path) as part:
                _write(part, content)
                created = _link_new(part, path)
            _flush_folder(path.parent)
        return created

    def put(self, name: str, content: bytes | Path, durable: bool = True) -> None:
        path = self._path(name)
        with self._errors("be written", name):
            if isinstance(content, Path):
                _move(content, path)
            else:
                with _beside(path) as part:
                    _write(part, content, durable)
                    part.replace(path)
            if durable:
                _flush_folder(path.parent)

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        start, end = checked_range(start, end)
        with self._errors("be read", name, absent=True), self._path(name).open("rb") as file:
            file.seek(start)
            return file.read() if end is None else file.read(max(0, end - start))

    def open(self, name: str) -> pa.NativeFile:
        import pyarrow as pa  # heavy

        # No memory map: there a disk that fails is a signal, which ends the process.
        with self._errors("be read", name, absent=True):
            return pa.OSFile(str(self._file(name)))

    def fetch(self, name: str, path: Path) -> None:
        with self._errors(f"be copied to {path}", name, absent=True):
            shutil.copyfile(self._file(name), path)

    def copy(self, name: str, target: str) -> None:
        path = self._path(target)
        with self._errors(f"be copied to {path}", name, absent=True):
            source = self._file(name)
            with _beside(path) as part:
                _link_or_copy(source, part)
                part.replace(path)  # does nothing where both are one file already
            _flush_folder(path.parent)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        checked_prefix(prefix)
        with self._errors("be listed", prefix.rstrip("/")):
            yield from _entries(str(self.folder / prefix), prefix)

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError), self._errors("be removed", name, absent=True):
            self._file(name).unlink()

    def scratch(self) -> Path:
        folder = self.folder / SCRATCH
        with self._errors("be made", SCRATCH):
            _make(folder)
        return folder

    def _path(self, name: str) -> Path:
        return self.folder / checked(name)

    def _file(self, name: str) -> Path:
        """Where an existing file lies; folders are no files to a storage."""
        path = self._path(name)
        if stat.S_ISDIR(path.stat().st_mode):
            raise IsADirectoryError
        return path

    @contextmanager
    def _errors(self, what: str, name: str, *, absent: bool = False) -> Iterator[None]:
        """Errors of the system become ones that a person can act on; with `absent`, a missing file is FileNotFoundError."""
        path = self.folder / name if name else self.folder
        try:
            yield
        except OSError as error:
            if absent and isinstance(error, _ABSENT):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
            reason = error.strerror or str(error) or type(error).__name__
            remedy = _REMEDIES.get(error.errno or 0, "see to that disk")
            message = f"{path} cannot {what}: {reason}; {remedy}, then run the same command again"
            raise StorageError(message, error.errno) from error


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A name for a file in the folder of `path`; what has that name at the end goes."""
    part = path.with_name(f"{WRITING}{uuid.uuid4().hex}")
    if not path.parent.is_dir():
        _make(path.parent)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _make(folder: Path) -> None:
    """Make a folder and those above it, durably."""
    if folder.is_dir():
        return
    _make(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
    _flush_folder(folder.parent)


def _write(path: Path, content: bytes, durable: bool = True) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def _flush(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _flush_folder(folder: Path) -> None:
    """Make the names in a folder durable, where its file system knows that of folders."""
    try:
        _flush(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise


def _link_new(part: Path, path: Path) -> bool:
    """Give the file `part` the name `path` as well; False where something has it."""
    try:
        os.link(part, path)
    except FileExistsError:
        # NFS repeats a request whose answer was lost, and then meets its own link.
        return part.stat().st_nlink > 1
    except OSError as error:
        if error.errno not in _WITHOUT_LINKS:
            raise
        return _rename_new(part, path)
    return True


def _rename_new(part: Path, path: Path) -> bool:
    """Rename a file on a file system without hard links (FAT, many FUSE); False where something has the name."""
    at_cwd, no_replace = -100, 1  # AT_FDCWD, RENAME_NOREPLACE
    rename = ctypes.CDLL(None, use_errno=True).renameat2
    if rename(at_cwd, os.fsencode(part), at_cwd, os.fsencode(path), no_replace) == 0:
        return True
    number = ctypes.get_errno()
    if number == errno.EEXIST:
        return False
    raise OSError(number, f"{os.strerror(number)} (no hard link, and no rename that replaces nothing)")


def _move(source: Path, path: Path) -> None:
    """Give a finished file its name: by a rename, or by a copy where that would cross file systems."""
    if not source.is_symlink():
        _flush(source)
        if not path.parent.is_dir():
            _make(path.parent)
        try:
            source.replace(path)
            return
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
    with _beside(path) as part:
        _copy_file(source, part)
        part.replace(path)


def _link_or_copy(source: Path, part: Path) -> None:
    try:
        os.link(source.resolve(), part)
    except OSError as error:
        if error.errno not in {*_WITHOUT_LINKS, errno.EXDEV, errno.EACCES}:
            raise
        _copy_file(source, part)


def _copy_file(source: Path, part: Path) -> None:
    shutil.copyfile(source, part)
    _flush(part)


def _entries(folder: str, prefix: str) -> Iterator[Entry]:
    """The files of a folder, in order of their names in the storage: there a folder's name ends in `/`."""
    try:
        with os.scandir(folder) as items:
            names = sorted(
                ((f"{item.name}/" if item.is_dir() else item.name, item) for item in items), key=itemgetter(0)
            )
    except (FileNotFoundError, NotADirectoryError):  # never made, or removed meanwhile
        return
    for name, item in names:
        if name.endswith("/"):
            yield from _entries(item.path, prefix + name)
            continue
        with suppress(FileNotFoundError):
            status = item.stat()
            if stat.S_ISREG(status.st_mode):
                version = f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"
                yield Entry(prefix + name, status.st_size, version)
