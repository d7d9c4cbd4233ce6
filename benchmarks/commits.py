"""Commits a second of a stage, by how many processes commit at a time: workers do not wait for one another.

python -m benchmarks.commits                   # in a temporary folder; --folder for another disk
python -m benchmarks.commits s3://bucket/run   # credentials from the environment
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.recipe import Recipe
from pipeline.run.attempt import begin_attempt
from pipeline.stages.opening import run_of

RECIPE = Recipe.model_validate({"sources": {"wukong": {"kind": "wukong", "files": ["x.csv"]}}})
BYTES = 50_000  # of a shard's file


def main() -> None:
    """Prints a row per number of processes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commits", description=__doc__.splitlines()[0])
    parser.add_argument("address", nargs="?", help="a new folder or url; default: a temporary folder")
    parser.add_argument("--commits", type=int, default=320, help="in all, of each row (default: %(default)s)")
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 4, 16])
    given = parser.parse_args()
    table = Table("processes", "commits/s")
    with tempfile.TemporaryDirectory(prefix="zhclip-commits-") as folder:
        for processes in given.processes:
            address = f"{given.address or folder}/{processes}"
            table.add_row(str(processes), f"{given.commits / seconds(address, given.commits, processes):,.0f}")
    Console().print(table)


def seconds(address: str, commits: int, processes: int) -> float:
    """From the moment when all processes are ready until the last one is done."""
    context = multiprocessing.get_context("spawn")  # a client of an object store does not survive a fork
    ready = context.Barrier(processes + 1)
    shards = [range(number, commits, processes) for number in range(processes)]
    workers = [context.Process(target=commit, args=(address, numbers, ready)) for numbers in shards]
    for worker in workers:
        worker.start()
    ready.wait()
    begun = time.monotonic()
    for worker in workers:
        worker.join()
    assert not any(worker.exitcode for worker in workers)
    return time.monotonic() - begun


def commit(address: str, shards: range, ready: object) -> None:
    """Commits shards of one stage: a file, a ledger, a manifest each."""
    run = run_of(address if "://" in address else Path(address), RECIPE)
    ready.wait()  # type: ignore[attr-defined]
    for number in shards:
        with begin_attempt(run, "score", f"{number:06d}") as attempt:
            attempt.output(".parquet").write_bytes(f"{number:06d}".encode() * (BYTES // 6))
            attempt.ledger([])
            assert attempt.commit({"in": 0, "out": 0})


if __name__ == "__main__":
    main()
