"""The trials of `make soak`, each a few times: nothing is lost, nothing doubled, and every byte is equal."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.soak.ground import Ground, Line, Undisturbed, on_server
from benchmarks.soak.kills import kills
from benchmarks.soak.room import NoMount, full_disks, limited_files, read_only
from benchmarks.soak.starts import double_starts
from benchmarks.soak.workers import late_workers
from pipeline.run.folder import Run
from tests.support.optional import MACHINE
from tests.support.runs import Site

pytestmark = pytest.mark.e2e
DOWNLOADED = 5  # stages, in all of them: translate, read, filter, plan, download


@pytest.fixture(scope="module")
def disk(site: Site, finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(site, Undisturbed.of(finished.folder), str(tmp_path_factory.mktemp("disk")), seconds=4)


@pytest.fixture(scope="module")
def stored(site: Site, finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with on_server(site, Undisturbed.of(finished.folder), tmp_path_factory.mktemp("s3"), seconds=4) as ground:
        yield ground


def holds(line: Line) -> None:
    assert line.holds, line
    assert line.times


def test_kills_on_disk(disk: Ground) -> None:
    holds(kills(disk, 4, random.Random(0), stages=DOWNLOADED))


def test_kills_on_s3_and_of_the_server(stored: Ground) -> None:
    line = kills(stored, 2, random.Random(0), stages=DOWNLOADED)
    holds(line)
    assert line.notes["the server too"] == 1


def test_two_drivers_at_once(disk: Ground) -> None:
    holds(double_starts(disk, 2, random.Random(0), fresh=False))


def test_a_worker_outlives_its_driver(disk: Ground, tmp_path: Path) -> None:
    holds(late_workers(disk, tmp_path, ["select"]))


def test_a_disk_is_full_and_then_read_only(disk: Ground) -> None:
    try:
        holds(full_disks(disk, random.Random(0), ["score"], rooms=(0, 12_288)))
        holds(read_only(disk))
    except NoMount:
        pytest.skip(f"{MACHINE}right to mount a small disk")


def test_files_cannot_grow(disk: Ground) -> None:
    holds(limited_files(disk, (4_096,)))
