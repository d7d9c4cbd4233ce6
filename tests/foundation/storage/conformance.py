"""What every storage has to do: classes of tests, which a module for each kind of storage inherits with an address of its own."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foundation.storage import Storage, open_storage
from tests.support.paths import REPOSITORY

ODD_NAMES = (
    "悟空/图 文.json",
    "a b/c  d",
    "[1-2]/{x}*.json",
    "100%/50%25",
    'it\'s "so"',
    "q?a=b#c&d+e",
    "~a;b,c=d@e!$",
    "e\u0301/é",
    ".hidden/.file",
    "x" * 255,
)
REFUSED_NAMES = ("", "/a", "a/", "a//b", "..", "a/../b", ".", "a/./b", "a\\b", "a\nb", "a\0b", "\ud800", "x" * 256)
ALL_METHODS = ("create", "put", "read", "open", "fetch", "copy", "remove")

CREATES = """
import json, random, sys
from foundation.storage import open_storage
storage, me, names = open_storage(sys.argv[1]), sys.argv[2], [f"race/{i:03d}.json" for i in range(int(sys.argv[3]))]
random.Random(me).shuffle(names)
storage.list("race/")  # connected
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps([name for name in names if storage.create(name, json.dumps([me, name]).encode())]))
"""
PUTS = """
import sys
from foundation.storage import open_storage
storage = open_storage(sys.argv[1])
for number in range(10**6):
    storage.put("changing", bytes([97 + number % 26]) * 2_000_000)
    print(number, flush=True)
"""


class Racers:
    """Processes that all create the same names."""

    def __init__(self, storage: Storage, processes: int, names: int) -> None:
        command = [sys.executable, "-c", CREATES, storage.address]
        self.names = [f"race/{number:03d}.json" for number in range(names)]
        self._processes = [
            subprocess.Popen(
                [*command, str(number), str(names)],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"TOKIO_WORKER_THREADS": "1"},
            )
            for number in range(processes)
        ]

    def start(self) -> None:
        """Let them go, once all are ready."""
        for process in self._processes:
            assert process.stdout and process.stdin
            assert process.stdout.readline() == "ready\n"
        for process in self._processes:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()

    def winners(self) -> list[tuple[str, str]]:
        """(process, name) of every True, once all have ended."""
        winners = []
        for number, process in enumerate(self._processes):
            output, _ = process.communicate()
            assert process.returncode == 0
            winners += [(str(number), name) for name in json.loads(output)]
        return winners


def check_winners(storage: Storage, winners: list[tuple[str, str]], names: list[str]) -> None:
    """Every name has one winner, and holds what the winner wrote."""
    assert Counter(name for _, name in winners) == Counter(names)
    for process, name in winners:
        assert json.loads(storage.read(name)) == [process, name]
    assert [entry.name for entry in storage.list("race/")] == sorted(names)


class StorageTests:
    """What one process may expect. A class that inherits it has a fixture `address`, of an empty storage."""

    large = 64 << 20  # bytes
    many = 1100  # files; S3 lists 1000 at a time

    @pytest.fixture
    def storage(self, address: str) -> Storage:
        return open_storage(address)

    def test_what_was_put_is_read(self, storage: Storage) -> None:
        for content in (b"one", b"another one", b"", b"x" * 300_000):
            storage.put("folder/name.json", content)
            assert storage.read("folder/name.json") == content
        assert [(entry.name, entry.bytes) for entry in storage.list()] == [("folder/name.json", 300_000)]

    def test_it_is_of_the_protocol_and_travels_in_a_pickle(self, storage: Storage) -> None:
        storage.put("a", b"1")
        other = pickle.loads(pickle.dumps(storage))
        assert isinstance(storage, Storage) and other == storage and other.address == storage.address
        assert other.read("a") == b"1"
        assert open_storage(f"{storage.address}/").address == storage.address

    def test_create_never_replaces(self, storage: Storage) -> None:
        assert storage.create("a/b", b"first")
        assert not storage.create("a/b", b"second")
        assert not storage.create("a/b", b"first")
        assert storage.read("a/b") == b"first"
        storage.remove("a/b")
        assert storage.create("a/b", b"third") and storage.read("a/b") == b"third"

    def test_of_threads_that_create_a_name_one_wins(self, storage: Storage) -> None:
        barrier = threading.Barrier(8)

        def create(thread: int) -> list[str]:
            barrier.wait()
            return [name for name in names if storage.create(name, json.dumps([str(thread), name]).encode())]

        names = [f"race/{number:03d}.json" for number in range(10)]
        with ThreadPoolExecutor(8) as threads:
            won = list(threads.map(create, range(8)))
        check_winners(storage, [(str(thread), name) for thread, share in enumerate(won) for name in share], names)

    def test_ranges(self, storage: Storage) -> None:
        content = bytes(range(256)) * 4
        storage.put("a", content)
        storage.put("empty", b"")
        for start, end in [(0, 10), (5, None), (1000, 2000), (1020, None), (1024, None), (1024, 1030), (5000, 5001),
                           (5000, None), (7, 7), (9, 3), (0, 0), (0, 5000), (0, None)]:  # fmt: skip
            assert storage.read("a", start, end) == content[start:end], (start, end)
            assert storage.read("empty", start, end) == b""
        for limits in [(-1, None), (0, -1)]:
            with pytest.raises(ValueError, match="counted from its beginning"):
                storage.read("a", *limits)

    def test_names_with_any_letter(self, storage: Storage, tmp_path: Path) -> None:
        for name in ODD_NAMES:
            assert storage.create(name, name.encode())
            storage.put(f"put/{name}", name.encode())
            storage.copy(name, f"copy/{name}")
        expected = sorted(f"{prefix}{name}" for prefix in ("", "put/", "copy/") for name in ODD_NAMES)
        assert [entry.name for entry in storage.list()] == expected
        assert [entry.name for entry in storage.list("put/100%/")] == ["put/100%/50%25"]
        for name in ODD_NAMES:
            storage.fetch(f"copy/{name}", tmp_path / "fetched")
            assert (tmp_path / "fetched").read_bytes() == name.encode()
            assert storage.read(f"put/{name}") == storage.open(name).read() == name.encode()
            storage.remove(name)
        assert [entry.name for entry in storage.list()] == [name for name in expected if name not in ODD_NAMES]

    @pytest.mark.parametrize("name", REFUSED_NAMES)
    def test_names_that_are_refused(self, storage: Storage, name: str, tmp_path: Path) -> None:
        others = {"create": (b"",), "put": (b"",), "fetch": (tmp_path / "file",), "copy": ("target",)}
        for method in ALL_METHODS:
            with pytest.raises(ValueError, match="no name of a file"):
                getattr(storage, method)(name, *others.get(method, ()))
        with pytest.raises(ValueError, match="no name of a file"):
            storage.copy("a", name)
        with pytest.raises(ValueError, match="no name of a file"):
            list(storage.list(f"{name}/"))
        with pytest.raises(ValueError, match="no prefix of a listing"):
            list(storage.list("folder"))
        assert list(storage.list()) == []

    def test_a_listing_goes_by_the_names(self, storage: Storage) -> None:
        names = ["a", "a-b", "a.json", "a0", "b/a.json", "b/a/x", "b/a/y/z", "b/a0", "b-/x", "ba/x", "é", "中/文", "😀"]
        names.remove("a")  # on a disk a name cannot be a file and a folder: "a/x" is left out as well
        for name in random.Random(1).sample(names, len(names)):
            storage.put(name, name.encode())
        assert [entry.name for entry in storage.list()] == sorted(names)
        assert [entry.name for entry in storage.list("b/")] == ["b/a.json", "b/a/x", "b/a/y/z", "b/a0"]
        assert [entry.name for entry in storage.list("b/a/")] == ["b/a/x", "b/a/y/z"]
        for prefix in ("c/", "a/", "b/a/x/"):
            assert list(storage.list(prefix)) == []
        assert all(entry.bytes == len(entry.name.encode()) for entry in storage.list())

    def test_a_listing_of_many(self, storage: Storage) -> None:
        names = [f"many/{number % 7}/{number:05d}" for number in range(self.many)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda name: storage.put(name, b""), names))
        assert [entry.name for entry in storage.list("many/")] == sorted(names)

    def test_a_version_changes_with_the_content(self, storage: Storage) -> None:
        versions = []
        for content in (b"one", b"two", b"two, and longer"):
            storage.put("a", content)
            versions.append([entry.version for entry in storage.list()])
            assert versions[-1] == [entry.version for entry in storage.list()]
        assert len(set(map(str, versions))) == 3

    def test_what_is_not_there(self, storage: Storage, tmp_path: Path) -> None:
        storage.put("folder/file", b"1")
        for name in ("none", "folder", "folder/none", "folder/file/none", "none/none"):
            for read in (
                lambda name: storage.read(name),
                lambda name: storage.read(name, 0, 5),
                lambda name: storage.read(name, 5),
                lambda name: storage.read(name, 3, 3),
                lambda name: storage.open(name),
                lambda name: storage.fetch(name, tmp_path / "fetched"),
                lambda name: storage.copy(name, "target"),
            ):
                with pytest.raises(FileNotFoundError) as raised:
                    read(name)
                assert raised.value.filename == f"{storage.address}/{name}"
            storage.remove(name)
        assert not (tmp_path / "fetched").exists()
        assert [entry.name for entry in storage.list()] == ["folder/file"]

    def test_a_copy_is_a_file_of_its_own(self, storage: Storage) -> None:
        storage.put("a", b"first")
        storage.put("folder/b", b"other")
        storage.copy("a", "folder/b")
        storage.copy("folder/b", "folder/b")
        storage.copy("a", "folder/b")  # on a disk both are one file by now
        storage.put("a", b"second")
        assert (storage.read("a"), storage.read("folder/b")) == (b"second", b"first")
        storage.remove("a")
        assert [entry.name for entry in storage.list()] == ["folder/b"]

    def test_a_large_file(self, storage: Storage, tmp_path: Path) -> None:
        content = np.random.default_rng(0).bytes(self.large)
        path = storage.scratch() / f"{tmp_path.name}-{os.getpid()}"
        path.write_bytes(content)
        storage.put("large/file.tar", path)
        path.unlink(missing_ok=True)
        storage.copy("large/file.tar", "copy.tar")
        storage.fetch("copy.tar", tmp_path / "fetched")
        with (tmp_path / "fetched").open("rb") as file:
            assert hashlib.file_digest(file, "sha256").digest() == hashlib.sha256(content).digest()
        assert storage.read("large/file.tar", 8_000_000, 20_000_000) == content[8_000_000:20_000_000]
        assert storage.read("large/file.tar", self.large - 5) == content[-5:]
        assert storage.read("large/file.tar") == content
        sizes = {entry.name: entry.bytes for entry in storage.list()}
        assert sizes == {"copy.tar": self.large, "large/file.tar": self.large}

    def test_parquet(self, storage: Storage) -> None:
        rows = 200_000
        table = pa.table({"key": [f"{number:032x}" for number in range(rows)], "score": np.arange(rows) / 7})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, row_group_size=50_000)
        storage.put("table.parquet", sink.getvalue().to_pybytes())
        for pre_buffer in (False, True):
            assert pq.read_table(storage.open("table.parquet"), pre_buffer=pre_buffer).equals(table)
        with storage.open("table.parquet") as file:
            group = pq.ParquetFile(file).read_row_group(2, columns=["score"])
        assert group.equals(table.select(["score"]).slice(100_000, 50_000))

    def test_an_open_file_is_read_at_random(self, storage: Storage) -> None:
        content = np.random.default_rng(1).bytes(3_000_000)
        storage.put("a", content)
        storage.put("empty", b"")
        with storage.open("a") as file:
            assert file.size() == len(content)
            for start, count in [
                (0, 10),
                (10, 100_000),
                (2_999_990, 100),
                (5, 5),
                (1_000_000, 2_000_000),
                (3_000_000, 1),
            ]:
                assert file.seek(start) == start
                assert file.read(count) == content[start : start + count]
                assert file.tell() == min(start + count, len(content))
            assert file.read_at(7, 100) == content[100:107]
            assert file.seek(-3, 2) == len(content) - 3 and file.read() == content[-3:]
        assert file.closed
        with storage.open("empty") as file:
            assert (file.size(), file.read()) == (0, b"")

    def test_scratch_is_a_folder_to_make_files_in(self, storage: Storage) -> None:
        assert storage.scratch().is_dir()

    def test_a_reader_sees_the_old_content_or_the_new(self, storage: Storage) -> None:
        storage.put("changing", b"a" * 1_000_000)
        done = threading.Event()

        def write() -> None:
            try:
                for letter in b"bcdefghijklmnopqrst":
                    storage.put("changing", bytes([letter]) * 1_000_000)
            finally:
                done.set()

        with ThreadPoolExecutor(1) as threads:
            writing = threads.submit(write)
            while not done.is_set():
                content = storage.read("changing")
                assert len(content) == 1_000_000 and len(set(content)) == 1
            writing.result()
        assert storage.read("changing") == b"t" * 1_000_000


class SharedStorageTests(StorageTests):
    """What several processes may expect of a storage that they share."""

    def test_of_processes_that_create_a_name_one_wins(self, storage: Storage) -> None:
        racers = Racers(storage, processes=8, names=40)
        racers.start()
        check_winners(storage, racers.winners(), racers.names)

    def test_a_writer_that_is_killed_leaves_the_old_content_or_the_new(self, storage: Storage) -> None:
        for moment in range(3):
            process = subprocess.Popen(
                [sys.executable, "-c", PUTS, storage.address], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
            )
            assert process.stdout
            for _ in range(3 + moment):
                process.stdout.readline()
            threading.Event().wait(random.Random(moment).uniform(0, 0.02))
            process.kill()
            process.communicate()
            content = storage.read("changing")
            assert len(content) == 2_000_000 and len(set(content)) == 1
        rest = [entry.name for entry in storage.list() if entry.name != "changing"]
        assert all(name.startswith(".writing-") for name in rest)  # a disk's, for a collector
