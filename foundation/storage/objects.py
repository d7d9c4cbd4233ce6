"""An object store, or a prefix in a bucket of it, as a storage: s3, gs, az, and memory for what needs no disk."""

from __future__ import annotations

import errno
import os
import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from foundation.extras import need
from foundation.storage import client as connection
from foundation.storage.base import Entry, StorageError
from foundation.storage.client import Passing, client, is_passing, lacks_bucket, located, reason, status
from foundation.storage.names import checked, checked_prefix, checked_range
from foundation.storage.reader import Reader

if TYPE_CHECKING:
    import pyarrow as pa
    from obstore import GetOptions

Result = TypeVar("Result")

PART = 8 << 20  # bytes of one request, so that each is done long before it times out
PARTS = 9_000  # of one upload; S3 takes 10,000
UPLOADS = 4  # parts that are on their way at a time
COPIED = 5 << 30  # bytes up to which S3 copies an object by itself
BEYOND = 416  # the HTTP status where a range begins behind the end
SMALL = 1 << 20  # bytes; a server that refuses a larger conditional put may hang up in the middle of it


@dataclass(frozen=True)
class Objects:
    """Objects below `url`, such as s3://bucket/runs/first. Credentials and endpoints come from the environment, as every
    program of that cloud takes them (`foundation.storage.client`).

    Requests are repeated for about a minute while the server is away or overloaded. An upload in parts whose writer was killed
    leaves parts that no listing shows: a lifecycle rule of the bucket removes them.
    """

    url: str

    def __post_init__(self) -> None:
        location = located(self.url)
        need("cloud", f"{location.scheme}://")
        object.__setattr__(self, "url", location.url)

    @property
    def address(self) -> str:
        return self.url

    def create(self, name: str, content: bytes) -> bool:
        if len(content) > SMALL:
            raise ValueError(f"{name} has {len(content)} bytes: create takes at most {SMALL}")
        creation = _Creation(self._key(name), content)
        return self._again("be written", name, lambda: creation.attempt(client(located(self.url), repeats=False)))

    def put(self, name: str, content: bytes | Path, durable: bool = True) -> None:  # noqa: ARG002  it always is
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        chunk = max(PART, size // PARTS)

        def attempt() -> None:
            import obstore

            try:
                obstore.put(self._client, self._key(name), content, chunk_size=chunk, max_concurrency=UPLOADS)
            except FileNotFoundError as error:
                if "NoSuchUpload" in str(error):  # it was completed, and the answer lost
                    raise Passing from error
                raise

        self._again("be written", name, attempt)

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        start, end = checked_range(start, end)
        if start == 0 and end is None:
            return _as_one(lambda: b"".join(self._parts(name)))
        if end is not None and 0 < end - start <= PART:
            return self._range(name, start, end)
        return _as_one(lambda: self._rest(name, start, end))

    def open(self, name: str) -> pa.NativeFile:
        import pyarrow as pa  # heavy

        size, tag = self._size(name)
        return pa.PythonFile(Reader(size, lambda start, end: self._span(name, start, end, tag)), mode="r")

    def fetch(self, name: str, path: Path) -> None:
        _as_one(lambda: self._fetch(name, path))

    def copy(self, name: str, target: str) -> None:
        import obstore

        source, key = self._key(name), self._key(target)
        size, _ = self._size(name)
        if source == key:  # S3 refuses that
            return
        if size > COPIED:
            self._carry(name, target)
        else:
            what = f"be copied to {self.url}/{target}"
            self._again(what, name, lambda: obstore.copy(self._client, source, key), absent=True)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        import obstore

        key = located(self.url).prefix + checked_prefix(prefix)
        items = self._again("be listed", prefix.rstrip("/"), lambda: obstore.list(self._client, key or None).collect())
        start = len(located(self.url).prefix)
        entries = [Entry(item["path"][start:], item["size"], _version(item)) for item in items]
        # Most servers list in this order, none is bound to.
        yield from sorted(entries, key=lambda entry: entry.name)

    def remove(self, name: str) -> None:
        import obstore

        def attempt() -> None:
            obstore.delete(self._client, self._key(name))

        try:
            self._again("be removed", name, attempt, absent=True)
        except FileNotFoundError:  # S3 says nothing of it, others do
            return

    def scratch(self) -> Path:
        return Path(tempfile.gettempdir())

    @property
    def _client(self) -> Any:
        return client(located(self.url))

    def _key(self, name: str) -> str:
        return located(self.url).prefix + checked(name)

    def _size(self, name: str) -> tuple[int, str | None]:
        """Bytes of a file, and the tag of its content. Raises FileNotFoundError."""
        import obstore

        key = self._key(name)
        item = self._again("be read", name, lambda: obstore.head(self._client, key), absent=True)
        return item["size"], item["e_tag"]

    def _range(self, name: str, start: int, end: int, tag: str | None = None) -> bytes:
        """Bytes of a file, as far as it has them; with a tag, as long as its content is the one of the tag."""
        import obstore
        from obstore.exceptions import GenericError

        key = self._key(name)
        options: GetOptions = {"range": (start, end)}
        if tag:
            options["if_match"] = tag

        def attempt() -> bytes:
            try:
                return bytes(obstore.get(self._client, key, options=options).bytes())
            except GenericError as error:
                if status(error) == BEYOND or self.url.startswith("memory:"):  # which knows no other error
                    return b""
                raise

        return self._again("be read", name, attempt, absent=True)

    def _span(self, name: str, start: int, end: int, tag: str | None) -> bytes:
        return b"".join(self._range(name, at, min(at + PART, end), tag) for at in range(start, end, PART))

    def _rest(self, name: str, start: int, end: int | None) -> bytes:
        size, tag = self._size(name)
        return self._span(name, start, size if end is None else min(end, size), tag)

    def _fetch(self, name: str, path: Path) -> None:
        parts = self._parts(name)
        first = next(parts)  # raises before the file is made
        with path.open("wb") as file:
            file.write(first)
            file.writelines(parts)

    def _parts(self, name: str) -> Iterator[bytes]:
        """The content of a file, by one request where it is small. Raises FileNotFoundError."""
        import obstore

        key = self._key(name)

        def begin() -> tuple[int, str | None, bytes]:
            answer = obstore.get(self._client, key)
            size, tag = answer.meta["size"], answer.meta["e_tag"]
            return size, tag, bytes(answer.bytes()) if size <= PART else b""

        size, tag, content = self._again("be read", name, begin, absent=True)
        if size <= PART:
            yield content
        else:
            yield from (self._range(name, at, min(at + PART, size), tag) for at in range(0, size, PART))

    def _carry(self, name: str, target: str) -> None:
        """Copy a file through this machine."""
        path = self.scratch() / f"zhclip-copy-{uuid.uuid4().hex}"
        try:
            self.fetch(name, path)
            self.put(target, path)
        finally:
            path.unlink(missing_ok=True)

    def _again(self, what: str, name: str, work: Callable[[], Result], *, absent: bool = False) -> Result:
        """What `work` gives, repeated while the server is away; with `absent`, a missing file is FileNotFoundError.

        obstore repeats most requests by itself, but no conditional put and no removal whose connection broke.
        """
        from obstore import exceptions

        until, pause = time.monotonic() + connection.PATIENCE, 0.1
        while True:
            try:
                return work()
            except Exception as error:
                address = f"{self.url}/{name}".rstrip("/")
                if isinstance(error, FileNotFoundError) and absent and not lacks_bucket(error):
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), address) from None
                if not isinstance(error, exceptions.BaseError | Passing | FileNotFoundError):
                    raise
                if not is_passing(error) or time.monotonic() > until:
                    message = f"{address} cannot {what}: {reason(error)}, then run the same command again"
                    kind = _Replaced if isinstance(error, exceptions.PreconditionError) else StorageError
                    raise kind(message) from None  # the text of the error may hold what is secret
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2.0, 2 * pause)


class _Replaced(StorageError):
    """A file has another content than when reading it began."""


@dataclass
class _Creation:
    """A conditional put, and whether an attempt may have been done though its answer was lost."""

    key: str
    content: bytes
    broken: bool = False

    def attempt(self, store: Any) -> bool:
        """Whether the object is the caller's. The store is to repeat nothing: after that "exists" may mean "is yours"."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, GenericError

        try:
            obstore.put(store, self.key, self.content, mode="create", use_multipart=False)
        except AlreadyExistsError as error:
            try:
                existing = bytes(obstore.get(store, self.key).bytes())
            except FileNotFoundError:  # S3 calls it a conflict, too, where a removal came between
                raise Passing from error
            return self.broken and existing == self.content
        except GenericError:
            self.broken = True
            raise
        return True


def _as_one(work: Callable[[], Result]) -> Result:
    """What `work` makes of one content of a file: it starts anew where the file is replaced meanwhile."""
    while True:
        try:
            return work()
        except _Replaced:
            continue


def _version(item: Any) -> str:
    return str(item["e_tag"] or f"{item['last_modified'].timestamp()}-{item['size']}")
