"""This checkout's speeds against another's, side by side: what a change that should cost nothing has cost.

    git clone . ../before && git -C ../before checkout REVISION && make -C ../before lint   # makes its environment
    python -m benchmarks.against ../before --rounds 3

Each line of SPEEDS runs one benchmark in both checkouts, in turn, by their own environments, and reads this project's own
figure from what it prints. A ratio above 1 is a gain here. It takes about five minutes a round: run it alone on the machine.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.check import read, run


@dataclass(frozen=True)
class Speed:
    """A figure of this project's own in a benchmark's output."""

    what: str
    command: str  # after `python -m benchmarks.`
    figure: str  # a regular expression for the printed line, whose first group is the figure
    is_cost: bool = False  # less is better


SPEEDS = (
    Speed("metadata pass, rows/s", "metadata --rows 1000000 --rounds 2", r"zhclip +│ +([\d,]+)"),
    Speed("row filters, µs a row", "filters", r"all row filters +([\d.]+)", is_cost=True),
    Speed("download, ms CPU an image", "download --images 400 --rounds 1", r"zhclip +([\d.]+)", is_cost=True),
    Speed("scoring, pairs/s", "scoring --small --rounds 2", r"scorer\.score +([\d.]+)"),
    Speed("translation, texts/s", "translation --texts 96 --rounds 1", r"translator\.translate +([\d.]+)"),
    Speed("loader, images/s", "loader --shards 2 --rounds 3", r"zhclip +([\d,.]+)"),
    Speed("contrastive loss, s", "loss --pairs 8192 --rounds 2", r"tiles +([\d.]+)", is_cost=True),
    Speed("training, stage 2, pairs/s", "training --rounds 1 --batch 8", r"both towers +│ +([\d.]+)"),
)


def main() -> None:
    """Prints the table of medians and of the rounds' ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against", description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="another checkout, with its own .venv")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="words in the names of benchmarks to run")
    given = parser.parse_args()
    table = Table("", "before", "now", "ratio (median)", "least", "most")
    for speed in SPEEDS:
        if given.only in speed.command:
            figures = [compare(given.other, speed, turn) for turn in range(given.rounds)]
            table.add_row(speed.what, *row(speed, figures))
            Console(stderr=True).print(speed.what, figures)
    Console().print(table)


def compare(other: Path, speed: Speed, turn: int) -> tuple[float, float]:
    """The figures of the other checkout and of this one, which take turns in going first."""
    order = (other, None) if turn % 2 == 0 else (None, other)
    figures = {checkout: read(speed.figure, speed.command, run(speed.command, checkout)) for checkout in order}
    return figures[other], figures[None]


def row(speed: Speed, figures: list[tuple[float, float]]) -> list[str]:
    """The cells of a line: medians, and the ratios of each round."""
    ratios = [before / now if speed.is_cost else now / before for before, now in figures]
    medians = [statistics.median(column) for column in zip(*figures, strict=True)]
    return [*(f"{median:,.4g}" for median in medians), *(f"{f(ratios):.3f}" for f in (statistics.median, min, max))]


if __name__ == "__main__":
    main()
