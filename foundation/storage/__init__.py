"""Where a run lies: a folder or an object store, behind one protocol."""

from __future__ import annotations

from pathlib import Path

from foundation.errors import InvalidInput
from foundation.storage.base import Entry, Storage, StorageError
from foundation.storage.client import SCHEMES
from foundation.storage.disk import SCRATCH, WRITING, Disk
from foundation.storage.objects import Objects

__all__ = ["SCHEMES", "SCRATCH", "WRITING", "Disk", "Entry", "Objects", "Storage", "StorageError", "open_storage"]


def open_storage(address: str | Path) -> Storage:
    """The storage at a path, or at a url such as s3://bucket/runs/first. Nothing is read, asked or made yet.

    Raises:
        InvalidInput: an address that names no storage.
        MissingExtra: the packages for object stores are not installed.
    """
    scheme, separator, _ = str(address).partition("://")
    if isinstance(address, Path) or not separator:
        return Disk(Path(address))
    if scheme == "file":
        return Disk(_local(address))
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in (*SCHEMES, "file"))
        raise InvalidInput(f"{address}: nothing can be kept at {scheme}://; use a folder, or {known}")
    return Objects(address)


def _local(url: str) -> Path:
    """The path as it stands in the url, where nothing is escaped, as fsspec and DuckDB read it."""
    path = url.removeprefix("file://").removeprefix("localhost")
    if not path.startswith("/"):
        raise InvalidInput(f"{url} names no folder of this machine: write file:///PATH")
    return Path(path)
