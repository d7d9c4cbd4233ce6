"""Kills runs, drivers, workers and servers, starts two drivers at once, fills disks, lets the clock jump, and compares what is
published with an undisturbed run's: python -m benchmarks.soak --times 40 --starts 20 (make soak)."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.soak.clock import jumping_clock
from benchmarks.soak.ground import Ground, Line, Undisturbed, on_server
from benchmarks.soak.kills import kills
from benchmarks.soak.room import NoMount, full_disks, limited_files, read_only
from benchmarks.soak.starts import double_starts
from benchmarks.soak.workers import late_workers
from demo.server import serving
from demo.world import build_world
from tests.support import warm
from tests.support.cache import unused_port
from tests.support.runs import Site

STORED = ("score", "select", "publish")
"""Stages whose late workers are tried on S3; on disk all are."""
TRIALS = ("kills", "starts", "workers", "clock", "room")


def main() -> int:
    """0 where nothing was lost, nothing doubled, every byte is equal, and every run verifies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=40, help="kills, half of them on S3 (default: %(default)s)")
    parser.add_argument("--starts", type=int, default=20, help="starts of two drivers at once (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=TRIALS, default=TRIALS, help="some of the trials (default: all)")
    parser.add_argument("--size", choices=("test", "demo"), default="test", help="of the world (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="zhclip-soak-") as name, _grounds(Path(name), given.size) as grounds:
        for trial in _trials(grounds, Path(name), given):
            console.print(f"… {time.strftime('%H:%M:%S')}", highlight=False)
            lines.append(trial())
    console.print(_table(lines))
    return 0 if all(line.holds for line in lines) else 1


@contextmanager
def _grounds(folder: Path, size: str) -> Iterator[list[Ground]]:
    """Disk and S3, with an undisturbed run of the world."""
    port = unused_port()
    world = build_world(folder / "world", f"http://127.0.0.1:{port}", size=size)
    with serving(world.web, port):
        site = Site(world)
        warm.run([sys.executable, "-m", "zhclip", "--version"])  # the first start of a process takes longer
        begun = time.monotonic()
        done = site.curate(folder / "undisturbed", "--workers 2")
        seconds = time.monotonic() - begun
        assert done.returncode == 0, done.stderr
        undisturbed = Undisturbed.of(folder / "undisturbed")
        (folder / "disk").mkdir()
        (folder / "s3").mkdir()
        with on_server(site, undisturbed, folder / "s3", seconds) as stored:
            yield [Ground(site, undisturbed, str(folder / "disk"), None, seconds), stored]


def _trials(grounds: list[Ground], folder: Path, given: argparse.Namespace) -> Iterator[Callable[[], Line]]:
    chance = random.Random(given.seed)
    for number, ground in enumerate(grounds):
        half = slice(number, None, len(grounds))
        if "kills" in given.only:
            yield lambda ground=ground, half=half: kills(ground, len(range(given.times)[half]), chance)  # type: ignore[misc]
        if "starts" in given.only:
            yield lambda ground=ground, half=half: double_starts(ground, len(range(given.starts)[half]), chance)  # type: ignore[misc]
        if "workers" in given.only:
            (folder / f"late-{number}").mkdir()
            yield lambda ground=ground, number=number: late_workers(
                ground, folder / f"late-{number}", STORED if ground.server else ()
            )  # type: ignore[misc]
        if "clock" in given.only:
            yield lambda ground=ground: jumping_clock(ground, 1)  # type: ignore[misc]
    if "room" in given.only:
        yield lambda: _room(grounds[0], lambda: full_disks(grounds[0], chance))
        yield lambda: _room(grounds[0], lambda: read_only(grounds[0]))


def _room(ground: Ground, trial: Callable[[], Line]) -> Line:
    try:
        return trial()
    except NoMount:
        return limited_files(ground, (3_000, 4_096))


def _table(lines: list[Line]) -> Table:
    table = Table("what", "times", "lost", "duplicated", "bytes equal", "verify", "of these")
    for line in lines:
        notes = ", ".join(f"{count} {what}" for what, count in line.notes.most_common())
        answers = ["yes" if holds else "[red]no[/]" for holds in (line.equal, line.verify)]
        failed = f"[red]{len(line.problems)} problems[/] " if line.problems else ""
        table.add_row(line.what, str(line.times), str(line.lost), str(line.duplicated), *answers, failed + notes)
    return table


if __name__ == "__main__":
    sys.exit(main())
