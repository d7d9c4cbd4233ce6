"""A disk that is full, in each stage, and one that may not be written to."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.soak.ground import Ground, Line
from pipeline.stages.registry import STAGES
from tests.support import warm

SIZE = 48 << 20  # bytes of the small disk
ROOMS = (0, 12_288, 98_304)
"""Bytes that are left on it at first, and after each failure; each some more, by chance."""
FINE = tuple(range(0, 160_000, 20_000))
"""As ROOMS, for the stages up to the plan, which write little and take no time."""
STAGES_FILLED = ("read", "download", "score", "select", "publish")
"""Stages that are to be done as the room ends."""
SENTENCE = re.compile(r"No space left|File too large|Read-only file system")


class NoMount(Exception):
    """This process may not mount a small disk."""


def full_disks(
    ground: Ground, chance: random.Random, stages: Sequence[str] = STAGES_FILLED, rooms: Sequence[int] = ROOMS
) -> Line:
    """The room ends at the start of each stage, and at several places in it, until there is enough: then all is there."""
    line = Line("disk full, in each stage")
    with small_disk() as disk:
        small = replace(ground, at=str(disk), server=None)
        for stage in stages:
            address = str(disk / f"full-{stage}")
            small.copy(address, list(STAGES).index(stage))
            for room in FINE if stage == "read" else rooms:
                with filled(disk, room + chance.randrange(20_000)):
                    process = small.start(address)
                    _, said = process.communicate()
                if process.returncode == 0:
                    break
                line.times += 1
                _look(line, address, process.returncode, said, 1)
                print(f"{line.what}: {line.times}", dict(line.notes), flush=True)
            small.finish(address, line)
            small.remove(address)
    return line


def read_only(ground: Ground) -> Line:
    """A run in a folder that cannot be written to: said, and nothing else."""
    line = Line("a disk that is read-only")
    with small_disk() as disk:
        small = replace(ground, at=str(disk), server=None)
        address = str(disk / "read-only")
        small.copy(address, list(STAGES).index("score"))
        _mount("remount,ro", disk)
        process = small.start(address)
        _, said = process.communicate()
        _look(line, address, process.returncode, said, 2)
        _mount("remount,rw", disk)
        line.times += 1
        small.finish(address, line)
    return line


def limited_files(ground: Ground, limits: Sequence[int], stage: str = "score") -> Line:
    """As `full_disks`, where no disk can be mounted: the system lets no file grow beyond a limit."""
    line = Line("files cannot grow")
    address = f"{ground.at}/limited"
    ground.copy(address, list(STAGES).index(stage))
    for limit in limits:
        _, _, _, *words = ground.site.command(address, "--workers 2")  # type: ignore[arg-type]
        process = warm.Process([sys.executable, "-m", "benchmarks.soak.limited", str(limit), *words])
        _, said = process.communicate()
        line.times += 1
        _look(line, address, process.returncode, said, 1)
    ground.finish(address, line)
    ground.remove(address)
    return line


def _look(line: Line, address: str, code: int | None, said: str, wanted: int) -> None:
    """One message of zhclip's on standard error, that says what is the matter, and no traceback."""
    messages = [part for part in said.splitlines() if part.startswith("zhclip:")]
    stage = re.search(r"of the (\w+) stage failed", said)
    line.notes[f"in {stage[1]}" if stage else "beside the stages"] += 1
    if code != wanted or "Traceback" in said or len(messages) != 1 or not SENTENCE.search(said):
        line.problem(f"{address}: exit code {code}: {said[-1500:]}")


@contextmanager
def small_disk() -> Iterator[Path]:
    """A file system of SIZE bytes.

    Raises:
        NoMount: this process may not mount one.
    """
    with tempfile.TemporaryDirectory(prefix="zhclip-disk-") as folder:
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            raise NoMount
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def filled(disk: Path, room: int) -> Iterator[None]:
    """Nothing but `room` bytes are left on a disk, meanwhile."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 16)):
                pass
        except OSError:
            pass
        file.truncate(max(0, file.tell() - room))
    try:
        yield
    finally:
        ballast.unlink()


def _mount(option: str, folder: Path) -> None:
    subprocess.run(["mount", "-o", option, str(folder)], check=True)
