"""The metadata pass against DuckDB: same files, same rules, same threads, kept and rejected rows written.

    python -m benchmarks.metadata                       # speed at five million rows, three rounds in turn
    python -m benchmarks.metadata --memory 1 5 20       # and peak memory at 1, 5 and 20 million rows

DuckDB is given the easier work wherever the two differ: it folds case only (no width, no traditional characters), checks urls
by one expression, and does not order what it writes, whereas `zhclip plan` writes shards sorted by key with their manifests.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.generate import generate

MILLION = 1_000_000
DATA = Path(tempfile.gettempdir()) / "zhclip-bench"

DUCKDB = """
    create temp table judged as
    with pairs as (
        select file_row_number as row, filename as file, "URL" as url, trim("TEXT") as caption, lower(trim("TEXT")) as folded,
               "LANGUAGE" as language, similarity, "WIDTH"::int as width, "HEIGHT"::int as height, punsafe, pwatermark, "NSFW" as nsfw
        from read_parquet('{files}', file_row_number = true, filename = true) where "LANGUAGE" = 'zh'
    ),
    flags as (
        select *, md5('laion' || chr(10) || url || chr(10) || caption) as key,
               length(caption) < 5 as too_short, length(caption) > 50 as too_long,
               not regexp_matches(caption, '\\p{{Han}}') as no_han,
               not regexp_matches(url, '^https?://([a-z0-9_-]+\\.)+[a-z]{{2,24}}/[!-~]*$') as url_bad,
               case when regexp_matches(folded, {all}) then [{categories}] else [] end as listed
        from pairs
    ),
    judged as (
        select *, too_short or too_long or no_han or url_bad or len(list_filter(listed, lambda r: r is not null)) > 0 as rejected from flags
    )
    select *, row_number() over (partition by caption, url order by rejected, file, row) > 1 as repeated,
           row_number() over (partition by caption, regexp_replace(regexp_replace(url, '^https?://(www\\.)?', ''), '[?#].*', '')
                              order by rejected, file, row) > 1 as repeated_url
    from judged
"""
COLUMNS = "key, file, row, url, caption, language, similarity, width, height, punsafe, pwatermark, nsfw"
REASONS = """
    list_filter(listed || [case when too_short then 'caption_too_short' end, case when too_long then 'caption_too_long' end,
        case when no_han then 'no_han' end, case when url_bad then 'url_malformed' end,
        case when repeated then 'duplicate_pair' end, case when repeated_url then 'duplicate_image_url' end], lambda r: r is not null)
"""


def run_zhclip(files: str, out: Path, threads: int) -> int:
    """`zhclip plan` on the embedded runner; returns the rows kept."""
    from foundation.log import quiet_libraries

    quiet_libraries()
    from pipeline.recipe import Recipe
    from pipeline.run.counts import stage_counts
    from pipeline.runners.driver import run_stages
    from pipeline.stages.opening import open_run

    recipe = Recipe.model_validate({"sources": {"laion": {"kind": "laion", "files": [files]}}})
    run, _ = open_run(out, recipe)
    run_stages(run, ["plan"], threads, [], lambda *_: None)
    return stage_counts(run, "filter")["laion"]["out"]


def run_duckdb(files: str, out: Path, threads: int) -> int:
    """The same rules as one query, and two COPY statements; returns the rows kept."""
    import duckdb

    out.mkdir()
    connection = duckdb.connect(config={"threads": threads})
    connection.execute(duckdb_query(files))
    kept = "not rejected and not repeated and not repeated_url"
    to = "(format parquet, compression zstd)"
    connection.execute(f"copy (select {COLUMNS} from judged where {kept}) to '{out}/kept.parquet' {to}")
    connection.execute(
        f"copy (select {COLUMNS}, {REASONS} as reasons from judged where not ({kept})) to '{out}/rejected.parquet' {to}"
    )
    row = connection.execute(f"select count(*) from judged where {kept}").fetchone()
    return int(row[0]) if row else 0


def duckdb_query(files: str) -> str:
    """The query, with the blacklist's own expressions in it."""
    from filters.blacklist import Blacklist
    from foundation.sql import literal

    def quoted(*expressions: str | None) -> str:
        return literal("|".join(expression for expression in expressions if expression))

    patterns = Blacklist()._patterns()
    everything = quoted(*(part for category in patterns.values() for part in (category.words, category.regexes)))
    categories = ", ".join(
        f"case when regexp_matches(folded, {quoted(category.words, category.regexes)}) then 'blacklist_{name}' end"
        for name, category in patterns.items()
    )
    return DUCKDB.format(files=files, all=everything, categories=categories)


def measure(who: str, rows: int, threads: int) -> dict[str, float]:
    """One run in a process of its own: seconds of work (without start-up), rows kept, peak memory in MiB."""
    generate(DATA / str(rows), rows)
    command = [
        sys.executable,
        "-m",
        "benchmarks.metadata",
        "--one",
        who,
        "--rows",
        str(rows),
        "--threads",
        str(threads),
    ]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])  # type: ignore[no-any-return]


def measure_here(who: str, rows: int, threads: int) -> None:
    """The measured process."""
    # Start-up, which is not what is compared: libraries that load at first use, and word lists that are compiled once.
    import duckdb  # noqa: F401
    import fsspec  # noqa: F401
    import polars  # noqa: F401

    import pipeline.runners.driver  # noqa: F401
    from filters.rules import Rules

    Rules()

    work = {"zhclip": run_zhclip, "duckdb": run_duckdb}[who]
    with tempfile.TemporaryDirectory(prefix="zhclip-bench-") as folder:
        begun = time.perf_counter()
        kept = work(str(DATA / str(rows) / "*.parquet"), Path(folder) / "out", threads)
        seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "kept": kept, "peak": peak}))


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5 * MILLION, help="rows of the speed comparison")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", type=int, nargs="*", default=[], help="millions of rows to measure peak memory at")
    parser.add_argument("--one", choices=("zhclip", "duckdb"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        measure_here(given.one, given.rows, given.threads)
        return
    console = Console()
    speed(console, given.rows, given.rounds, given.threads)
    if given.memory:
        memory(console, given.memory, given.threads)


def speed(console: Console, rows: int, rounds: int, threads: int) -> None:
    """Both in turn, `rounds` times."""
    measured: dict[str, list[dict[str, float]]] = {"zhclip": [], "duckdb": []}
    for _ in range(rounds):
        for who, runs in measured.items():
            runs.append(measure(who, rows, threads))
    table = Table(
        title=f"Metadata pass, {rows:,} rows, {threads} threads, {rounds} rounds in turn", title_justify="left"
    )
    for column in ("", "rows/s (median)", "min", "max", "kept", "peak MiB"):
        table.add_column(column, justify="right" if column else "left")
    for who, runs in measured.items():
        rates = sorted(rows / run["seconds"] for run in runs)
        peak = max(run["peak"] for run in runs)
        cells = (statistics.median(rates), rates[0], rates[-1], runs[0]["kept"], peak)
        table.add_row(who, *(f"{cell:,.0f}" for cell in cells))
    console.print(table)
    ratios = [b["seconds"] / a["seconds"] for a, b in zip(measured["zhclip"], measured["duckdb"], strict=True)]
    console.print(f"zhclip / duckdb, rows per second: {statistics.median(ratios):.2f} (at least 0.9 wanted)\n")


def memory(console: Console, millions: list[int], threads: int) -> None:
    """Peak memory and speed of the metadata pass as the input grows; generated files are removed afterwards."""
    table = Table(title=f"Metadata pass as the input grows, {threads} threads", title_justify="left")
    for column in ("rows", "seconds", "rows/s", "peak MiB (at most 2,048 wanted)"):
        table.add_column(column, justify="right")
    for number in millions:
        rows = number * MILLION
        figures = measure("zhclip", rows, threads)
        table.add_row(
            f"{rows:,}", f"{figures['seconds']:.0f}", f"{rows / figures['seconds']:,.0f}", f"{figures['peak']:,.0f}"
        )
        if number > 5:
            shutil.rmtree(DATA / str(rows))
    console.print(table)


if __name__ == "__main__":
    main()
