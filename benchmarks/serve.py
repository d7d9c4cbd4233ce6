"""Pages of `zhclip serve` over a run, each beside the plain query over the run's views that would show the same.

python -m benchmarks.serve RUN [--rounds 5]

A run of any size comes from `python -m benchmarks.big_run FOLDER --rows N`.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import httpx
import psutil
from rich.console import Console
from rich.table import Table

from pipeline.inspect.catalog import connect

COLUMNS = "key, source, url, caption"
NO_WORD = "no-caption-has-this"  # so every shard is searched, until the page's time is over
PAGES = {
    "all pairs": ("", f"select {COLUMNS} from plan order by key limit 60"),
    "published": ("?where=published", f"select {COLUMNS}, score from pairs order by key limit 60"),
    "a reason": (
        "?reason=score_too_low",
        f"select {COLUMNS}, reasons from rejected where list_contains(reasons, 'score_too_low') order by key limit 60",
    ),
    "a source": (
        "?source={source}&where=published",
        f"select {COLUMNS} from pairs where source = '{{source}}' order by key limit 60",
    ),
    "a word": (
        "?q=北京&where=published",
        f"select {COLUMNS} from pairs where contains(caption, '北京') order by key limit 60",
    ),
    "a score": ("?where=published&low=0.38", f"select {COLUMNS} from pairs where score >= 0.38 order by key limit 60"),
    "a deep page": (
        "?where=published&after=published.{shard}.",
        f"select {COLUMNS} from pairs where key >= '{{key}}' order by key limit 60",
    ),
    "a word of none": (f"?q={NO_WORD}", f"select {COLUMNS} from plan where contains(caption, '{NO_WORD}') limit 60"),
}


def main() -> None:
    """Prints a line for each page: medians after one round to warm up, and the server's peak memory."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    table = Table("page", "pairs", "page s", "query s", "ratio")
    with serving(given.run) as (process, address), httpx.Client(timeout=120) as client, connect(given.run) as views:
        places = places_of(views)
        for name, texts in PAGES.items():
            search, query = (text.format(**places) for text in texts)
            page, cards = timed(lambda search=search: len(cards_of(client, f"{address}/pairs{search}")), given.rounds)
            plain, rows = timed(lambda query=query: len(views.execute(query).fetchall()), given.rounds)
            assert cards == rows, f"{name}: the page has {cards} pairs, the query {rows}"
            table.add_row(name, str(cards), f"{page:.3f}", f"{plain:.3f}", f"{page / plain:.3f}")
        peak = peak_memory(process.pid) / 2**20
    Console().print(table)
    print(f"peak memory of the server, without the processes of its SQL page: {peak:,.0f} MiB")


def timed(ask: Callable[[], int], rounds: int) -> tuple[float, int]:
    """Median seconds after a first time that does not count, and what was returned."""
    result, seconds = ask(), []
    for _ in range(rounds):
        begun = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds), result


def places_of(views: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The source with the fewest published pairs; a published shard in the middle of the list and its first key."""
    source = "select source from pairs group by source order by count(*), source limit 1"
    shards = views.execute("select shard from shards where stage = 'publish' order by shard").fetchall()
    shard = shards[len(shards) // 2][0]
    key = views.execute("select min(key) from pairs where tar = ?", [f"{shard}.tar"]).fetchall()[0][0]
    return {"source": views.execute(source).fetchall()[0][0], "shard": shard, "key": key}


def peak_memory(pid: int) -> int:
    """Largest resident set of a process so far, in bytes (Linux)."""
    return int(re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[0]) * 1024


def cards_of(client: httpx.Client, address: str) -> list[str]:
    """The pairs on a page."""
    return re.findall(r'<li class="card">', client.get(address).raise_for_status().text)


@contextmanager
def serving(run: Path) -> Iterator[tuple[psutil.Process, str]]:
    """The server, and the address of the run's pages."""
    command = [sys.executable, "-m", "zhclip", "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            address = next(match[0] for line in process.stderr if (match := re.search(r"http://\S+:\d+", line)))
            yield psutil.Process(process.pid), f"{address}/runs/{run.resolve().name}"
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
