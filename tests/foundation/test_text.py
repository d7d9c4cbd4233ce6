"""Numbers of things in messages."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from foundation.text import counted
from pipeline.inspect.verify import Report


@pytest.mark.parametrize(
    "number, words, expected",
    [
        (0, ("row",), "0 rows"),
        (1, ("row",), "1 row"),
        (2, ("row",), "2 rows"),
        (1_234_567, ("published pair",), "1,234,567 published pairs"),
        (1, ("process", "processes"), "1 process"),
        (3, ("process", "processes"), "3 processes"),
    ],
)
def test_noun_agrees_with_its_number(number: int, words: tuple[str, ...], expected: str) -> None:
    assert counted(number, *words) == expected


def test_one_problem_of_a_run_is_one_problem() -> None:
    said = StringIO()
    report = Report({"shards": 1, "files": 2, "bytes": 4_000, "published pairs": 1}, ["score/000000: damaged"])
    report.print(Console(file=said, width=200))
    assert said.getvalue().splitlines()[-1] == "1 problem: 1 shard, 2 files, 4,000 bytes, 1 published pair"
