"""Kills a run with SIGKILL at random moments, continues it each time, and compares what it publishes with an undisturbed run.

python -m benchmarks.kill --times 20
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from demo.__main__ import compare
from demo.curation import REPOSITORY, Site
from demo.server import serving
from demo.world import build_world
from pipeline.stages.opening import read_run


def main() -> int:
    """0 where the run that was killed published the same bytes and verifies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="kills (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="zhclip-kill-") as name:
        folder = Path(name)
        world = build_world(folder / "world", size="demo")
        with serving(world.web):
            return soak(Site(world), folder, given.times, random.Random(given.seed), console)


def soak(site: Site, folder: Path, times: int, chance: random.Random, console: Console) -> int:
    """One undisturbed run, one killed `times` times; each kill falls anywhere in what an undisturbed run takes."""
    begun = time.monotonic()
    undisturbed = site.curate(folder / "undisturbed")
    assert undisturbed.returncode == 0, undisturbed.stderr
    seconds = time.monotonic() - begun
    killed = 0
    while killed < times:
        # Short enough that not every process comes to the end, spread over start-up and all stages.
        killed += kill_once(site, folder / "killed", chance.uniform(0.5, seconds / 3))
        done = sum(1 for _ in (folder / "killed").glob("*/0*.json"))
        console.print(f"kill {killed:>2} of {times}: {done} shards of all stages are committed")
        if (folder / "killed/dataset/manifest.json").exists() and killed < times:
            console.print("   complete; from now on a new run is killed")
            (folder / "killed").rename(folder / f"killed-{killed}")
    finish = site.curate(folder / "killed")
    assert finish.returncode == 0, finish.stderr
    runs = sorted(folder.glob("killed*"))
    wrong = sum(compare(read_run(run), read_run(folder / "undisturbed"), console) for run in runs)
    for run in runs:
        verify = [sys.executable, "-m", "zhclip", "verify", str(run)]
        wrong += subprocess.run(verify, cwd=REPOSITORY, check=False).returncode
    return 1 if wrong else 0


def kill_once(site: Site, run: Path, seconds: float) -> int:
    """Starts (or continues) the run and kills it after `seconds`, with all its children; 1, or 0 if it ended before."""
    process = subprocess.Popen(site.command(run), cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds)
        return 0
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return 1


if __name__ == "__main__":
    sys.exit(main())
