"""Bytes of images out of tars: local ones by position, remote ones through a copy on the local disk."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec

from foundation.errors import WorkFailed
from foundation.text import counted

OPEN_FILES = 256
ATTEMPTS, WAIT = 4, 1.0  # tries to fetch a shard, and seconds before the second one, doubling


class ShardError(WorkFailed):
    """A remote shard that cannot be fetched, or is shorter than its index says. Never taken for one broken image."""


class Shards:
    """Reads parts of tars. Objects may be copied to other processes, which then have file handles of their own.

    Args:
        tars: paths, or urls that fsspec knows.
        ends: for each, the number of bytes that it must have at least.
        cache: folder for copies of remote tars, shared by the workers of a rank; null for local tars.
        copies: how many remote tars lie in `cache` at a time; the least recently used is removed first.
    """

    def __init__(self, tars: Sequence[str], ends: Sequence[int], cache: Path | None = None, copies: int = 16) -> None:
        self.tars, self.ends, self.cache, self.copies = tars, ends, cache, copies
        self._handles: OrderedDict[int, int] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_handles": OrderedDict()}

    def close(self) -> None:
        """Close all file handles."""
        while self._handles:
            os.close(self._handles.popitem()[1])

    def read(self, tar: int, offset: int, length: int) -> bytes:
        """Bytes [offset, offset + length) of a tar.

        Raises:
            EOFError: the tar ends before that.
            OSError: a local tar cannot be read.
            ShardError: a remote tar cannot be fetched.
        """
        content = os.pread(self._handle(tar), length, offset)
        if len(content) < length:
            raise EOFError(f"{self.tars[tar]}: ends at byte {offset + len(content):,}, within an image")
        return content

    def prepare(self, tar: int) -> None:
        """Begin to fetch a remote tar in the background, unless somebody is at it."""
        if self.cache and not self._copy(tar).exists():
            threading.Thread(target=self._fetch, args=(tar, True), daemon=True).start()

    def _handle(self, tar: int) -> int:
        if tar in self._handles:
            self._handles.move_to_end(tar)
            return self._handles[tar]
        if len(self._handles) >= (self.copies if self.cache else OPEN_FILES):
            os.close(self._handles.popitem(last=False)[1])
        self._handles[tar] = self._open_copy(tar) if self.cache else os.open(self.tars[tar], os.O_RDONLY)
        return self._handles[tar]

    def _copy(self, tar: int) -> Path:
        assert self.cache is not None
        return self.cache / f"{tar}.tar"

    def _open_copy(self, tar: int) -> int:
        while True:
            try:
                handle = os.open(self._copy(tar), os.O_RDONLY)
            except FileNotFoundError:  # not fetched yet, or removed by another worker just now
                self._fetch(tar)
                continue
            os.utime(handle)
            return handle

    def _fetch(self, tar: int, only_if_free: bool = False) -> None:
        copy = self._copy(tar)
        with copy.with_suffix(".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (fcntl.LOCK_NB if only_if_free else 0))
                if not copy.exists():
                    self._download(tar, copy.with_suffix(".part"))
                    copy.with_suffix(".part").replace(copy)
                    self._remove_unused()
            except (BlockingIOError, ShardError):
                if not only_if_free:  # what fails ahead of time is tried again, and reported, when it is needed
                    raise

    def _download(self, tar: int, target: Path) -> None:
        for attempt in range(ATTEMPTS):
            try:
                # An instance of its own: one inherited through a fork, its event loop not running, blocks when it is let go.
                filesystem, path = fsspec.core.url_to_fs(self.tars[tar], skip_instance_cache=True)
                filesystem.get_file(path, str(target))
            except Exception as error:  # every file system of fsspec has errors of its own
                if attempt + 1 == ATTEMPTS or isinstance(error, FileNotFoundError):
                    raise ShardError(
                        f"{self.tars[tar]}: not fetched in {counted(attempt + 1, 'attempt')}: {error!r}"
                    ) from error
                time.sleep(WAIT * 2**attempt)
            else:
                break
        if (size := target.stat().st_size) < self.ends[tar]:
            raise ShardError(f"{self.tars[tar]}: has {size:,} bytes; its index says at least {self.ends[tar]:,}")

    def _remove_unused(self) -> None:
        assert self.cache is not None
        copies = []
        for path in self.cache.glob("*.tar"):
            try:
                copies.append((path.stat().st_mtime_ns, path))
            except FileNotFoundError:  # another worker removed it
                continue
        for _, path in sorted(copies)[: -self.copies]:
            path.unlink(missing_ok=True)  # who has it open can still read it
