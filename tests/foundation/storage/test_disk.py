"""A folder as a storage: the conformance tests, and what only a file system can do to it."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from foundation.errors import ZhclipError
from foundation.storage import Disk, StorageError, open_storage
from tests.foundation.storage.conformance import SharedStorageTests, StorageTests
from tests.support.optional import MACHINE
from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.slow

NOBODY = 65534

BEYOND_A_LIMIT = """
import resource, sys
from foundation.storage import StorageError, open_storage
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    open_storage(sys.argv[1]).put("file", b"x" * 200_000)
except StorageError as error:
    print(error.errno, error)
"""


class TestDisk(SharedStorageTests):
    @pytest.fixture
    def address(self, tmp_path: Path) -> str:
        return str(tmp_path / "[run] 悟空 100%")


class TestDiskWithoutLinks(StorageTests):
    """FAT and many FUSE have no hard links; here the system is made to say so, since a test cannot count on such a disk."""

    @pytest.fixture
    def address(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        def refuse(*_: object) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", refuse)
        return str(tmp_path / "run")


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "run")


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder of another file system than that of `tmp_path`."""
    for parent in ("/dev/shm", "/tmp", str(Path.home()), "/var/tmp"):
        if os.access(parent, os.W_OK) and Path(parent).stat().st_dev != tmp_path.stat().st_dev:
            with tempfile.TemporaryDirectory(dir=parent) as folder:
                yield Path(folder)
            return
    pytest.skip(f"{MACHINE}second file system to write to")


def names(disk: Disk) -> list[str]:
    return [entry.name for entry in disk.list()]


def test_a_folder_of_a_run_may_lie_on_another_disk(disk: Disk, other_disk: Path) -> None:
    disk.folder.mkdir()
    (disk.folder / "download").symlink_to(other_disk, target_is_directory=True)
    (disk.scratch() / "file").write_bytes(b"moved across")
    disk.put("download/moved", disk.scratch() / "file")
    assert disk.create("download/created", b"1") and not disk.create("download/created", b"2")
    disk.copy("download/moved", "copied")
    disk.put("download/back", b"replaced")
    disk.copy("copied", "download/back")
    assert disk.read("download/back") == disk.read("copied") == b"moved across"
    (disk.scratch() / "file").unlink(missing_ok=True)
    assert names(disk) == ["copied", "download/back", "download/created", "download/moved"]
    assert sorted(path.name for path in other_disk.iterdir()) == ["back", "created", "moved"]


def test_a_file_on_the_same_disk_is_moved_and_not_copied(disk: Disk) -> None:
    path = disk.scratch() / "file"
    path.write_bytes(b"content")
    before = path.stat().st_ino
    disk.put("a/b", path)
    assert (disk.folder / "a/b").stat().st_ino == before and not path.exists()


def test_a_link_to_a_file_is_put_as_the_file(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    disk.put("a", tmp_path / "link")
    (tmp_path / "file").unlink()
    assert disk.read("a") == b"content" and not (disk.folder / "a").is_symlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip(f"{MACHINE}right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_in_one_sentence_and_the_old_content_stays(small_disk: Path, tmp_path: Path) -> None:
    disk = Disk(small_disk)
    disk.put("folder/file", b"old")
    (tmp_path / "large").write_bytes(b"x" * (2 << 20))
    disk.put("other", b"x" * 100_000)
    attempts: list[Callable[[], object]] = [
        lambda: disk.put("folder/file", b"x" * (2 << 20)),
        lambda: disk.put("folder/file", tmp_path / "large"),
        lambda: disk.create("folder/new", b"x" * (2 << 20)),
    ]
    for attempt in attempts:
        with pytest.raises(StorageError) as raised:
            attempt()
        message = str(raised.value)
        assert raised.value.errno == errno.ENOSPC and isinstance(raised.value, ZhclipError)
        assert message.startswith(f"{small_disk}/folder/") and "\n" not in message
        assert message.endswith(
            "cannot be written: No space left on device; make room there, then run the same command again"
        )
        assert names(disk) == ["folder/file", "other"] and disk.read("folder/file") == b"old"


def test_a_limit_on_the_size_of_files(disk: Disk) -> None:
    disk.put("file", b"old")
    done = subprocess.run(
        [sys.executable, "-c", BEYOND_A_LIMIT, disk.address], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        f"{errno.EFBIG} {disk.address}/file cannot be written: File too large; raise the limit on a file's size (ulimit -f),"
        " then run the same command again\n"
    )
    assert disk.read("file") == b"old" and names(disk) == ["file"]


def test_what_this_user_may_not_write() -> None:
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is its owner's alone
        Path(folder).chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(NOBODY)
        try:
            with pytest.raises(
                StorageError, match="file cannot be written: Permission denied; give this user the right"
            ):
                open_storage(folder).put("folder/file", b"1")
        finally:
            os.seteuid(user)
            Path(folder).chmod(0o755)


def test_a_file_in_the_way_of_a_folder(disk: Disk) -> None:
    disk.put("a", b"1")
    for attempt in (lambda: disk.put("a/b", b"2"), lambda: disk.create("a/b/c", b"2")):
        with pytest.raises(StorageError, match="cannot be written: Not a directory"):
            attempt()
    disk.put("folder/file", b"1")
    with pytest.raises(StorageError, match="cannot be written: Is a directory"):
        disk.put("folder", b"2")
    assert names(disk) == ["a", "folder/file"]


def test_a_link_whose_answer_was_lost_is_the_writers_own(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS repeats a request, and the second finds what the first has made."""
    link = os.link

    def link_and_lose_the_answer(source: Path, target: Path) -> None:
        link(source, target)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    monkeypatch.setattr(os, "link", link_and_lose_the_answer)
    assert disk.create("a", b"1")
    monkeypatch.undo()
    assert not disk.create("a", b"1") and disk.read("a") == b"1"


def test_a_listing_of_a_folder_in_which_files_come_and_go(disk: Disk) -> None:
    for number in range(200):
        disk.put(f"folder/{number:03d}", b"")
    (disk.folder / "broken").symlink_to("nothing")
    listing = disk.list()
    seen = [next(listing).name]
    for number in range(50, 200):
        disk.remove(f"folder/{number:03d}")
    seen += [entry.name for entry in listing]
    assert seen == [f"folder/{number:03d}" for number in range(50)]


def test_too_many_open_files_are_no_missing_file(disk: Disk) -> None:
    disk.put("a", b"1")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(StorageError, match="Too many open files; raise the limit on open files"):
            disk.read("a")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
