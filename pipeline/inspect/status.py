"""What a run has come to, as tables for people and as JSON for machines."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from pipeline.run.counts import Balance, balances
from pipeline.run.folder import Run
from pipeline.run.funnel import by_stage, reasons
from pipeline.stages.download.retry import Retry
from pipeline.stages.registry import STEPS

ROWS_WENT = {
    "read": "read",
    "out_of_scope": "other language",
    "unreadable": "unreadable",
    "rejected_by_rules": "rejected by rules",
    "failed_download": "not fetched",
    "failed_score": "not decoded",
    "rejected_by_score": "not selected",
    "published": "published",
    "missing": "missing",
}


def summary(run: Run) -> dict[str, Any]:
    """Steps (shards done and to do), a balance per source, and the reasons; plain JSON types."""
    return {
        "run": str(run.folder),
        "steps": [{"step": name, "done": done, "expected": total} for name, done, total in steps_done(run)],
        "balances": [{**asdict(balance), "missing": balance.missing} for balance in balances(run)],
        "reasons": reasons(run).to_pylist(),
    }


def steps_done(run: Run) -> list[tuple[str, int, int | None]]:
    """(step, shards committed, shards expected or None where that is not known yet)."""
    found: list[tuple[str, int, int | None]] = []
    known = (run.folder / "layout.json").exists()
    for name, step in STEPS.items():
        if not step.applies(run):
            continue
        expected = step.expected(run) if known else None
        found.append((name, len(run.manifests(name)), None if expected is None else len(expected)))
        known = known and expected is not None and not step.pending(run)
    return found


def print_status(run: Run, console: Console) -> None:
    """Steps, then balance and funnel."""
    table = Table(title=f"{run.recipe.name}: {run.folder}", title_justify="left")
    table.add_column("step")
    table.add_column("shards", justify="right")
    table.add_column("")
    for name, done, total in steps_done(run):
        state = "waits" if total is None else "complete" if done == total else f"{total - done:,} to do"
        table.add_row(STEPS[name].label, f"{done:,}" if total is None else f"{done:,} of {total:,}", state)  # type: ignore[index]
    console.print(table)
    print_funnel(run, console)


def print_funnel(run: Run, console: Console) -> None:
    """Rows per source from the metadata to the published shards, then why pairs fell out."""
    found = balances(run)
    counts = reasons(run).to_pylist()
    _print_fitting(console, found, lambda some: _balance_table(some, found))
    _print_fitting(console, found, lambda some: _reason_table(counts, [balance.source for balance in some]))
    for balance in found:
        if balance.unknown:
            console.print(
                f"[yellow]{balance.source}: {balance.unknown} file(s) do not open or end early; how many rows they held nobody "
                f"knows. Where: ledger/read, rows = 0[/]"
            )


def print_retry(found: Retry, console: Console) -> None:
    """What is to be fetched again, by reason."""
    if not found.shards:
        console.print("nothing to fetch again: no shard has that many failures of these reasons", highlight=False)
        return
    table = Table("reason", title_justify="left")
    table.add_column("to be fetched again", justify="right")
    for reason, pairs in found.reasons.items():
        table.add_row(reason, f"{pairs:,}")
    table.add_section()
    table.add_row(f"{len(found.shards):,} shards", f"{found.pairs:,}")
    console.print(table)


def _print_fitting(console: Console, found: list[Balance], make: Callable[[list[Balance]], Table]) -> None:
    """One table of all sources or, where that is too wide, one of each half of them."""
    table = make(found)
    unbounded = console.options.update(max_width=sys.maxsize)
    if len(found) > 1 and Measurement.get(console, unbounded, table).maximum > console.width:
        half = (len(found) + 1) // 2
        for some in (found[:half], found[half:]):
            _print_fitting(console, some, make)
    else:
        console.print(table)


def _reason_table(counts: list[dict[str, Any]], sources: list[str]) -> Table:
    """A row per reason that one of the sources has; for each the pairs that have it, and those that have no other."""
    table = Table(title="Why pairs fell out: with this reason, and with no other", title_justify="left")
    table.add_column("stage")
    table.add_column("reason", no_wrap=True)
    for source in sources:
        table.add_column(source, justify="right")
        table.add_column("only", justify="right", style="dim")
    for stage, found in by_stage(row for row in counts if row["source"] in sources).items():
        for reason, cells in found.items():
            numbers = [f"{count:,}" if count else "·" for source in sources for count in cells.get(source, (0, 0))]
            table.add_row(stage, reason, *numbers)
        table.add_section()
    return table


def _balance_table(some: list[Balance], found: list[Balance]) -> Table:
    """A column for each of `some`, and one for all that were `found`."""
    table = Table(title="Where every row went", title_justify="left")
    table.add_column("rows")
    for balance in some:
        table.add_column(balance.source, justify="right")
    if len(found) > 1:
        table.add_column("all", justify="right")
    for name, title in ROWS_WENT.items():
        numbers = [getattr(balance, name) for balance in some]
        total = [sum(getattr(balance, name) for balance in found)] if len(found) > 1 else []
        cells = [f"{number:,}" for number in [*numbers, *total]]
        table.add_row(
            title, *cells, style="bold green" if name == "published" else "", end_section=name in ("read", "published")
        )
    return table
