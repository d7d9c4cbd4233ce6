from pathlib import Path

from foundation.storage.base import Entry, Storage, StorageError  # noqa: F401
from foundation.storage.disk import Disk


def open_storage(address: str | Path) -> Storage:
    return Disk(Path(address).absolute())
