"""Images from folders and zip files of this machine, for the sources that name them, and for no other.

A local image has the url `local:SOURCE/train2014/NAME.jpg`: no path of a machine is published. A row's own source must be
SOURCE, and the recipe must name `images` for it, so no url that stands in metadata can lead to a file.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from foundation.failure import Failure
from pipeline.sources.local_images import SCHEME, is_relative_path
from pipeline.stages.download.fetch import Fetched


class LocalImages:
    """The images of the sources that have their own; safe to use from many threads.

    Args:
        places: source → its folders and zip files, absolute.
        max_bytes: larger images are refused.

    Raises:
        OSError, zipfile.BadZipFile: a zip file cannot be opened.
    """

    def __init__(self, places: Mapping[str, Sequence[str]], max_bytes: int) -> None:
        self._places = {source: [_open(Path(path), max_bytes) for path in paths] for source, paths in places.items()}

    def fetch(self, url: str, source: str | None) -> Fetched:
        """The bytes of a local url that stands in a row of `source`.

        An image is looked for in all places under its path, then under the path without its first folder (published
        archives unpack to `train2014/NAME.jpg`, which a recipe may also name by the inner folder).

        Raises:
            Failure: refused_scheme, refused_path, file_missing, file_unreadable, too_many_bytes, empty_response.
        """
        owner, _, name = url.removeprefix(SCHEME).partition("#")[0].partition("/")
        if source is None or source not in self._places or unquote(owner) != source:
            raise Failure("refused_scheme", f"local, in a row of {source}")
        name = unquote(name)
        if not is_relative_path(name):
            raise Failure("refused_path", name)
        inner = [PurePosixPath(*PurePosixPath(name).parts[1:]).as_posix()] if "/" in name else []
        for candidate in (name, *inner):
            for image_store in self._places[source]:
                body = image_store.read(candidate)
                if body == b"":
                    raise Failure("empty_response", f"{name} is an empty file")
                if body is not None:
                    return Fetched(body, hashlib.sha256(body).hexdigest(), None)
        raise Failure("file_missing", name)


class Folder:
    """A folder of images."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._root, self._max_bytes = path.resolve(), max_bytes

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None where there is none. Raises Failure as `LocalImages.fetch` does."""
        path = self._root / name
        try:
            real = path.resolve(strict=True)
            if not real.is_relative_to(self._root):
                raise Failure("refused_path", f"{name} is a link that leaves the folder")
            handle = os.open(real, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe would wait for a writer
            with open(handle, "rb") as file:  # noqa: PTH123  a descriptor, not a path
                described = os.fstat(handle)
                if not stat.S_ISREG(described.st_mode):
                    raise Failure("file_unreadable", f"{name} is no regular file")
                return _capped(file.read(self._max_bytes + 1), self._max_bytes)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links
            raise Failure("file_unreadable", f"{name}: {type(error).__name__}") from error


class Zip:
    """A zip file of images, read without unpacking it to disk."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._zip, self._max_bytes = zipfile.ZipFile(path), max_bytes
        self._names = {info.filename: info for info in self._zip.infolist() if not info.is_dir()}
        self._opening = threading.Lock()  # ZipFile locks reads by itself; `open` also counts its open members

    def read(self, name: str) -> bytes | None:
        """The bytes of a member; None where there is none. Raises Failure as `LocalImages.fetch` does."""
        info = self._names.get(name)
        if info is None:
            return None
        try:
            with self._opening:
                member = self._zip.open(info)
            with member:
                return _capped(member.read(self._max_bytes + 1), self._max_bytes)
        except (OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise Failure("file_unreadable", f"{name}: {type(error).__name__}: {error}") from error


def _open(path: Path, max_bytes: int) -> Folder | Zip:
    return Folder(path, max_bytes) if path.is_dir() else Zip(path, max_bytes)


def _capped(body: bytes, cap: int) -> bytes:
    if len(body) > cap:
        raise Failure("too_many_bytes", f"more than {cap} bytes")
    return body
