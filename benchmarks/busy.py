"""Training beside other work: steps of the `tiny` preset on an idle machine and beside busy loops on every core.

    python -m benchmarks.busy                 # every setting
    python -m benchmarks.busy --chosen        # what `zhclip train` chooses, only

OpenMP's threads wait for one another at the end of every operation. By default they wait in a loop that burns the core
which the thread that they wait for may need. Each setting (threads, how they wait) trains in a process of its own. Rounds
go through all settings, idle and busy in turn; a ratio is of the medians of all steps. What else the machine does counts
as part of "idle".
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from trainer.threads import SLEEPING, cores

WAITING = {"spins": {}, "1,000 spins": {"GOMP_SPINCOUNT": "1000"}, "sleeps": SLEEPING}
"""How threads wait → environment variables, none of which may be set already."""
OPENMP = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@contextmanager
def busy_loops(processes: int) -> Iterator[None]:
    """So many processes that do nothing but use a core each."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def step_times(threads: int, waiting: dict[str, str], steps: int, batch: int) -> list[float]:
    """Seconds of each step of a training in a process of its own; two steps before them warm up and do not count."""
    environment = {name: text for name, text in os.environ.items() if name not in OPENMP} | waiting
    command = [sys.executable, "-m", "benchmarks.busy", "--child", "--steps", str(steps), "--batch", str(batch)]
    environment["OMP_NUM_THREADS"] = str(threads)
    printed = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True
    ).stdout
    return json.loads(printed)  # type: ignore[no-any-return]


def child(steps: int, batch: int) -> None:
    """Trains, and prints the seconds of each step as JSON."""
    import torch

    from benchmarks.training import CAPTIONS, seconds, zhclip_step
    from trainer.config import load_train_recipe

    recipe = load_train_recipe("tiny", ["precision=float32"])
    torch.manual_seed(0)
    size = recipe.model.vision.image_size
    captions = [CAPTIONS[i % len(CAPTIONS)] for i in range(batch)]
    step = zhclip_step(recipe, recipe.stages[0], torch.randn(batch, 3, size, size), captions)
    print(json.dumps([seconds(step) for _ in range(steps + 2)][2:]))


def main() -> None:
    """Prints a table of medians and ratios."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.busy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12, help="of each training")
    parser.add_argument("--batch", type=int, default=128, help="pairs in a step")
    parser.add_argument("--chosen", action="store_true", help="only the setting that `zhclip train` chooses")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.steps, given.batch)
        return
    settings = [(threads, name) for threads in sorted({1, cores()}) for name in WAITING]
    settings = [(cores(), "sleeps")] if given.chosen else [(1, "spins"), *settings[len(WAITING) :]]
    times: dict[tuple[int, str, bool], list[float]] = {}
    for _ in range(given.rounds):
        for threads, name in settings:
            for busy in (False, True):
                with busy_loops(cores() if busy else 0):
                    measured = step_times(threads, WAITING[name], given.steps, given.batch)
                times.setdefault((threads, name, busy), []).extend(measured)
    _print(settings, {key: 1000 * statistics.median(measured) for key, measured in times.items()}, given.batch)


def _print(settings: list[tuple[int, str]], medians: dict[tuple[int, str, bool], float], batch: int) -> None:
    table = Table(title=f"A step of {batch} pairs, preset tiny, {cores()} cores; ms, median", title_justify="left")
    for heading in ("threads", "waiting thread", "idle", "busy", "busy / idle"):
        table.add_column(heading, justify="right")
    for threads, name in settings:
        idle, busy = medians[threads, name, False], medians[threads, name, True]
        table.add_row(str(threads), name, f"{idle:.0f}", f"{busy:.0f}", f"{busy / idle:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
