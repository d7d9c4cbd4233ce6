"""Floors under the speeds: ratios to other programs, measured side by side in one run, so that a step back is seen.

    python -m benchmarks.check              # make bench-check; some minutes on two idle cores
    python -m benchmarks.check --record     # also append the figures to benchmarks/history.jsonl

Each line of FLOORS runs one benchmark in a process of its own and reads one figure from what it prints. A ratio says
the same on a fast machine and a slow one; absolute speeds are only in the history. Exit code 1 where a ratio is below its
floor. A busy machine disturbs ratios too: run it alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

HISTORY = Path(__file__).with_name("history.jsonl")


@dataclass(frozen=True)
class Floor:
    """A ratio, more is better, and the least that it may be."""

    what: str
    command: str  # after `python -m benchmarks.`; floors with an equal command share its run
    figure: str  # a regular expression for the printed line, whose first group is the ratio
    least: float


# Each well below what was seen (docs/benchmarks.md says what, and on which machines), which leaves room for another's balance.
FLOORS = (
    Floor("metadata pass / DuckDB", "metadata --rows 2000000 --rounds 3", r"rows per second: ([\d.]+)", 0.65),
    Floor("blacklist / DuckDB's regular expressions", "filters", r"Blacklist .* ([\d.]+)\n", 1.0),
    Floor("scoring / bare forward passes", "scoring --small --rounds 3", r"forward passes alone: ([\d.]+)", 0.5),
    Floor("scoring / peers, pair by pair", "scoring --small --rounds 3", r"pair by pair: ([\d.]+)", 3.0),
    Floor("loader / open_clip's", "loader --shards 2 --rounds 3", r"ratio +([\d.]+)", 1.3),
    Floor("tars, verify / SHA-256 alone", "verify --rounds 3", r"as verify reads them .*│ +([\d.]+) +│", 0.2),
    Floor("contrastive loss, memory: naive / tiles", "loss --pairs 8192 --rounds 1", r"tiles .* 1/(\d+)\n", 15.0),
)


def main() -> int:
    """Prints the table; 1 where a ratio is below its floor."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check", description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help=f"append the figures to {HISTORY.name}")
    given = parser.parse_args()
    console, ratios = Console(stderr=True), dict(measured())
    table = Table("", "ratio", "floor", "")
    for floor in FLOORS:
        verdict = "" if ratios[floor.what] >= floor.least else "below its floor"
        table.add_row(floor.what, f"{ratios[floor.what]:.2f}", f"{floor.least:g}", verdict)
    console.print(table)
    if given.record:
        record({floor.what: ratios[floor.what] for floor in FLOORS})
    return int(any(ratios[floor.what] < floor.least for floor in FLOORS))


def measured() -> Iterator[tuple[str, float]]:
    """(what, ratio) of every floor; the benchmarks' own tables go to stdout as they come."""
    for command in dict.fromkeys(floor.command for floor in FLOORS):
        printed = run(command)
        print(printed, flush=True)
        for floor in FLOORS:
            if floor.command == command:
                yield floor.what, read(floor.figure, command, printed)


def run(command: str, checkout: Path | None = None) -> str:
    """What a benchmark prints, of this checkout or by the environment of another. Raises CalledProcessError where it fails."""
    module, *options = command.split()
    python = str(checkout.resolve() / ".venv/bin/python") if checkout else sys.executable
    line = [python, "-m", f"benchmarks.{module}", *options]
    return subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True, cwd=checkout).stdout


def read(figure: str, command: str, printed: str) -> float:
    """The first group of a regular expression in a benchmark's output. Raises ValueError where nothing matches."""
    match = re.search(figure, printed)
    if match is None:
        raise ValueError(f"`benchmarks.{command}` printed nothing that matches {figure!r}:\n{printed}")
    return float(match[1].replace(",", ""))


def record(ratios: dict[str, float]) -> None:
    """Appends one line to the history: date, commit, machine, ratios."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    entry = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit.strip(),
        "machine": machine(),
        "command": "python -m benchmarks.check",
        "ratios": {what: round(ratio, 2) for what, ratio in ratios.items()},
    }
    with HISTORY.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def machine() -> str:
    """Processor and number of cores."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
