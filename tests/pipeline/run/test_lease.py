"""One process drives a run: whoever is second is refused and changes nothing, and whoever was given up commits nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, replace
from itertools import cycle
from pathlib import Path
from typing import ClassVar

import pytest

from foundation.storage import Disk, Entry
from pipeline.recipe import Recipe
from pipeline.run.attempt import begin_attempt
from pipeline.run.folder import Run
from pipeline.run.lease import Holder, Superseded, check, drive, latest
from pipeline.run.manifest import RunError
from pipeline.stages.opening import open_run, read_run
from pipeline.stages.publish.handing_on import hand_on
from tests.support.paths import REPOSITORY

HOLD = """
import sys, time
from pathlib import Path
from foundation.storage import Disk
from pipeline.run.lease import drive
with drive(Disk(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(3600)
"""


def leases(storage: Disk) -> dict[str, bytes]:
    """Who holds or held one; not the beat of the one that works."""
    return {
        entry.name: storage.read(entry.name)
        for entry in storage.list(".driver/")
        if entry.name.endswith(("json", "ended"))
    }


def held_elsewhere(storage: Disk, epoch: int = 1) -> Holder:
    """A lease of a process on another machine."""
    holder = Holder("elsewhere", 7, "another boot", "pid:[1]", "12")
    assert storage.create(f".driver/{epoch:06d}.json", json.dumps(asdict(holder)).encode())
    storage.put(f".driver/{epoch:06d}.beat", b"1")
    return holder


@pytest.fixture
def storage(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "run")


def test_a_second_driver_is_refused_and_changes_nothing(storage: Disk) -> None:
    with drive(storage) as lease:
        assert (lease.epoch, lease.before) == (1, None)
        before = leases(storage)
        with (
            pytest.raises(RunError, match=rf"another process is working on .*process {os.getpid()} on"),
            drive(storage),
        ):
            pass
        assert leases(storage) == before
    with drive(storage) as lease:
        assert (lease.epoch, lease.before) == (2, None)


def test_a_driver_that_was_killed_on_this_machine_is_followed_at_once(storage: Disk) -> None:
    command = [sys.executable, "-c", HOLD, str(storage.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(RunError, match=rf"process {process.pid} on"), drive(storage):
            pass
        process.send_signal(signal.SIGSTOP)  # it may go on at any time
        with pytest.raises(RunError, match="another process"), drive(storage):
            pass
        process.kill()
        process.wait()
        with drive(storage, silence=3600) as lease:
            assert lease.epoch == 2 and lease.before is not None and lease.before.pid == process.pid


def test_a_driver_elsewhere_that_shows_no_sign_of_life_is_followed(storage: Disk) -> None:
    holder = held_elsewhere(storage)
    with drive(storage, silence=0.3) as lease:
        assert (lease.epoch, lease.before) == (2, holder)
        assert not any(".driver/000001" in entry.name for entry in storage.list())


def test_a_driver_elsewhere_that_lives_is_not(storage: Disk) -> None:
    held_elsewhere(storage)
    stop = threading.Event()

    def beat() -> None:
        count = 1
        while not stop.wait(0.01):
            count += 1
            storage.put(".driver/000001.beat", str(count).encode())

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with pytest.raises(RunError, match="process 7 on elsewhere"), drive(storage, silence=3600):
            pass
    finally:
        stop.set()
        beating.join()


def test_a_lease_that_ends_while_it_is_watched_is_no_silence(storage: Disk) -> None:
    """Whoever sees the change is refused, and starts again: that is simpler than to guess who else saw it."""
    held_elsewhere(storage)
    storage.put(".driver/000001.ended", b"")
    assert latest(storage) == (1, None)


def _try_to_drive(folder: Path, start: object, won: object, go_on: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    try:
        with drive(Disk(folder)) as lease:
            won.put(lease.epoch)  # type: ignore[attr-defined]
            go_on.wait()  # type: ignore[attr-defined]
    except RunError:
        won.put(0)  # type: ignore[attr-defined]


def test_of_eight_that_start_at_once_one_drives(storage: Disk) -> None:
    context = multiprocessing.get_context("fork")
    start, go_on, won = context.Barrier(8), context.Event(), context.Queue()
    processes = [context.Process(target=_try_to_drive, args=(storage.folder, start, won, go_on)) for _ in range(8)]
    for process in processes:
        process.start()
    epochs = sorted(won.get() for _ in processes)
    go_on.set()
    for process in processes:
        process.join()
    assert epochs == [0] * 7 + [1]


def test_under_an_epoch_that_passed_nothing_is_committed(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", recipe(0.26))[0]
    with drive(run.storage) as lease:
        stale = replace(run, epoch=lease.epoch)
        assert commit(stale, "000000")
    for _ in range(2):  # also where the epoch that followed has passed as well
        with drive(run.storage) as lease:
            assert commit(replace(run, epoch=lease.epoch), f"00000{lease.epoch}")
        with pytest.raises(Superseded):
            commit(stale, "000009")
        with pytest.raises(Superseded):
            check(run.storage, stale.epoch or 0)
    assert "000009" not in run.done("select")


def recipe(min_score: float) -> Recipe:
    source = {"kind": "wukong", "files": ["x.csv"], "min_score": min_score}
    return Recipe.model_validate({"sources": {"wukong": source}})


def commit(run: Run, shard: str, stage: str = "select", ending: str = ".parquet", content: bytes = b"rows") -> bool:
    with begin_attempt(run, stage, shard) as attempt:
        attempt.output(ending).write_bytes(content)
        return attempt.commit({"in": 0, "out": 0})


def test_a_damaged_lease_is_named(storage: Disk) -> None:
    storage.put(".driver/000001.json", b"{")
    with (
        pytest.raises(RunError, match=r"\.driver/000001\.json: damaged; remove it when no process works on the run"),
        drive(storage),
    ):
        pass


def test_a_driver_that_was_followed_hands_nothing_on(tmp_path: Path) -> None:
    """It slept, say, between the last shard and this."""
    source = {"kind": "wukong", "files": ["x.csv"]}
    run = open_run(tmp_path / "run", Recipe.model_validate({"sources": {"wukong": source}}))[0]
    with drive(run.storage) as lease:
        stale = replace(run, epoch=lease.epoch)
        with begin_attempt(stale, "publish", "000000") as attempt:
            attempt.output(".tar").write_bytes(b"tar")
            attempt.commit({"in": 0, "out": 0})
    with drive(run.storage), pytest.raises(Superseded):
        hand_on(stale)
    assert not list(run.storage.list("dataset/"))
    hand_on(run)
    assert run.storage.read("dataset/000000.tar") == b"tar"


@pytest.mark.parametrize("lives", [True, False])
def test_a_clock_that_jumps_an_hour_both_ways_changes_nothing(
    storage: Disk, lives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time that passes is the machine's alone, and what a holder wrote last is compared, not dated."""
    jumps = cycle([0.0, 3600.0, -3600.0])
    monkeypatch.setattr("time.time", lambda clock=time.time: clock() + next(jumps))
    holder = held_elsewhere(storage)
    for entry in storage.list(".driver/"):
        os.utime(storage.folder / entry.name, (0, 0) if lives else (2**32, 2**32))
    Stalled.at = ("read", ".driver/000001.beat")
    Stalled.meanwhile = [lambda: storage.put(".driver/000001.beat", b"2"), lambda: None] if lives else []
    with pytest.raises(RunError, match="process 7 on elsewhere") if lives else nullcontext():  # noqa: SIM117
        with drive(Stalled(storage.folder), silence=3600 if lives else 0.3) as lease:
            assert (lease.epoch, lease.before) == (2, holder)


class Stalled(Disk):
    """A disk whose process is frozen once, at a call that a test names, until what `meanwhile` does is done."""

    at: ClassVar[tuple[str, str]] = ("", "")  # method, and the name of the file or folder
    meanwhile: ClassVar[list[Callable[[], object]]] = []

    def _stall(self, method: str, name: str) -> None:
        if self.meanwhile and (method, name) == self.at:
            self.meanwhile.pop()()

    def create(self, name: str, content: bytes) -> bool:
        """As on any disk."""
        self._stall("create", name)
        return super().create(name, content)

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """As on any disk."""
        self._stall("read", name)
        return super().read(name, start, end)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """As on any disk."""
        self._stall("list", prefix)
        yield from super().list(prefix)


def test_a_start_that_was_frozen_while_others_drove_does_not_take_their_run(storage: Disk) -> None:
    """Between its look at the lease and its own, one process drove the run to its end, and another one began."""
    with drive(storage):
        pass
    with ExitStack() as others:

        def drive_twice() -> None:
            with drive(storage):
                pass
            assert others.enter_context(drive(storage)).epoch == 3

        Stalled.at, Stalled.meanwhile = ("create", ".driver/000002.json"), [drive_twice]
        with pytest.raises(RunError, match="another process"), drive(Stalled(storage.folder)):
            pass
        check(storage, 3)
        assert latest(storage)[0] == 3


def test_what_a_late_worker_finds_in_its_place_stays(tmp_path: Path) -> None:
    """It looked whether its lease counts and froze; then another driver took over, with another threshold."""
    old = open_run(tmp_path / "run", recipe(0.26))[0]
    with drive(old.storage) as lease:
        stale = replace(old, epoch=lease.epoch, storage=Stalled(old.folder))

    def take_over() -> None:
        run = open_run(tmp_path / "run", recipe(0.5))[0]
        with drive(run.storage) as lease:
            assert commit(replace(run, epoch=lease.epoch), "000000")

    Stalled.at, Stalled.meanwhile = ("create", "select/000000.json"), [take_over]
    with pytest.raises(Superseded):
        commit(stale, "000000")
    assert read_run(tmp_path / "run").done("select") == {"000000"}


@pytest.mark.parametrize("name", ["dataset/", "publish/"])
def test_a_driver_that_was_frozen_publishes_nothing_over_what_the_next_one_did(tmp_path: Path, name: str) -> None:
    """It froze as it handed on: what it had in hand to remove and to replace is not its own any more."""
    old = open_run(tmp_path / "run", recipe(0.26))[0]
    with drive(old.storage) as lease:
        frozen = replace(old, epoch=lease.epoch, storage=Stalled(old.folder))
        for shard in ("000000", "000001"):
            assert commit(frozen, shard, "publish", ".tar", b"old")
        if name == "dataset/":
            hand_on(frozen)

    def take_over() -> None:
        run = open_run(tmp_path / "run", recipe(0.5))[0]
        with drive(run.storage) as lease:
            run = replace(run, epoch=lease.epoch)
            run.discard("publish", keep_digest=run.digest("publish"))
            assert commit(run, "000000", "publish", ".tar", b"new") and commit(run, "000002", "publish", ".tar", b"new")
            hand_on(run)

    Stalled.at, Stalled.meanwhile = ("list", name), [take_over]
    with pytest.raises(Superseded):
        hand_on(frozen)
    published = {entry.name: old.storage.read(entry.name) for entry in old.storage.list("dataset/")}
    tars = {name: content for name, content in published.items() if name.endswith(".tar")}
    assert tars == dict.fromkeys(["dataset/000000.tar", "dataset/000002.tar"], b"new")


@pytest.mark.parametrize("prefix", ["", ".driver/"])
def test_whoever_finds_that_another_process_started_the_run_goes_on_with_it(
    tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that start at once, each could be refused by the look of the other, and then none would work."""
    Stalled.at, Stalled.meanwhile = ("list", prefix), [lambda: open_run(tmp_path / "run", recipe(0.26))]
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.stages.opening.open_storage", lambda folder: Stalled(Path(folder)))
        run, lines = open_run(tmp_path / "run", recipe(0.26))
    assert not Stalled.meanwhile and lines == [] and read_run(run.folder).recipe == run.recipe


@pytest.mark.parametrize("other", [0.5, 0.4])
def test_whoever_finds_that_another_process_changed_the_recipe_goes_on_where_it_is_its_own(
    tmp_path: Path, other: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_run(tmp_path / "run", recipe(0.26))
    Stalled.at, Stalled.meanwhile = ("list", ".driver/"), [lambda: open_run(tmp_path / "run", recipe(other))]
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.stages.opening.open_storage", lambda folder: Stalled(Path(folder)))
        with nullcontext() if other == 0.5 else pytest.raises(RunError, match="has just changed the recipe"):
            open_run(tmp_path / "run", recipe(0.5))
    assert not Stalled.meanwhile and read_run(tmp_path / "run").recipe == recipe(other)


def test_while_the_storage_is_away_nobody_is_silent(storage: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder could not write either: time counts where an answer was had."""
    held_elsewhere(storage)
    now = [0.0]
    monkeypatch.setattr("pipeline.run.lease.time.monotonic", lambda: now[0])
    monkeypatch.setattr("pipeline.run.lease.time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))

    def be_away() -> None:
        now[0] += 3600
        Stalled.meanwhile.append(lambda: storage.put(".driver/000001.beat", b"2"))

    Stalled.at, Stalled.meanwhile = ("read", ".driver/000001.beat"), [be_away, lambda: None]
    with pytest.raises(RunError, match="process 7 on elsewhere"), drive(Stalled(storage.folder), silence=30):
        pass
