"""What a run has come to, as tables for people and as JSON for machines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from foundation.text import counted
from pipeline.inspect.funnel import SourceFunnel, by_stage, reasons, source_funnels
from pipeline.run.folder import Run
from pipeline.run.names import LAYOUT_FILE
from pipeline.run.outcomes import undecided
from pipeline.stages.registry import OUTCOMES, STAGES, enabled


@dataclass(frozen=True)
class StageProgress:
    """How far one stage is."""

    stage: str
    done: int  # shards committed
    expected: int | None  # shards of the complete run; None while that is not known


def summary(run: Run) -> dict[str, Any]:
    """Stages (shards done and to do), the funnel of each source, and the reasons; plain JSON types."""
    return {
        "run": run.address,
        "stages": [asdict(progress) for progress in stage_progress(run)],
        "sources": [funnel.to_json() for funnel in source_funnels(run)],
        "reasons": reasons(run).to_pylist(),
    }


def stage_progress(run: Run) -> list[StageProgress]:
    """One for each stage that the recipe asks for, in their order."""
    stages: list[StageProgress] = []
    known = run.holds(LAYOUT_FILE)
    for stage in enabled(run.recipe):
        expected = len(stage.shards(run)) if known else None
        stages.append(StageProgress(stage.name, len(run.manifests(stage.name)), expected))
        known = known and not stage.pending(run)
    return stages


def is_complete(stages: Iterable[StageProgress]) -> bool:
    """Whether all shards of all stages are there."""
    return all(progress.done == progress.expected for progress in stages)


def print_status(run: Run, console: Console) -> None:
    """Stages, then where every row went, and why."""
    table = Table(title=escape(f"{run.recipe.name}: {run.address}"), title_justify="left")
    table.add_column("stage")
    table.add_column("shards", justify="right")
    table.add_column("")
    for progress in stage_progress(run):
        done, total = progress.done, progress.expected
        state = "waits" if total is None else "complete" if done == total else f"{total - done:,} to do"
        shards = f"{done:,}" if total is None else f"{done:,} of {total:,}"
        table.add_row(STAGES[progress.stage].label, shards, state)
    console.print(table)
    print_funnel(run, console)


def print_funnel(run: Run, console: Console) -> None:
    """Rows per source from the metadata to the published shards, then why pairs were not handed on."""
    funnels = source_funnels(run)
    counts = reasons(run).to_pylist()
    complete = is_complete(stage_progress(run))
    _print_fitting(console, funnels, lambda part: _outcome_table(part, funnels, complete))
    _print_fitting(console, funnels, lambda part: _reason_table(counts, [funnel.source for funnel in part]))
    for funnel in funnels:
        if funnel.unknown:
            console.print(
                f"[yellow]{funnel.source}: {counted(funnel.unknown, 'file')} cannot be opened or read to the end; how many "
                f"rows that leaves out cannot be told. Where: ledger/read, rows = 0[/]"
            )


def _print_fitting(console: Console, funnels: list[SourceFunnel], make: Callable[[list[SourceFunnel]], Table]) -> None:
    """One table of all sources or, where that is too wide, one of each half of them."""
    table = make(funnels)
    unbounded = console.options.update(max_width=sys.maxsize)
    if len(funnels) > 1 and Measurement.get(console, unbounded, table).maximum > console.width:
        half = (len(funnels) + 1) // 2
        for part in (funnels[:half], funnels[half:]):
            _print_fitting(console, part, make)
    else:
        console.print(table)


def _reason_table(counts: list[dict[str, Any]], sources: list[str]) -> Table:
    """A row per reason that one of the sources has; for each the pairs that have it, and those that have no other."""
    table = Table(title="Why rows were not handed on: with this reason, and with no other", title_justify="left")
    table.add_column("stage")
    table.add_column("reason", no_wrap=True)
    for source in sources:
        table.add_column(source, justify="right")
        table.add_column("only", justify="right", style="dim")
    for stage, by_reason in by_stage(row for row in counts if row["source"] in sources).items():
        for reason, cells in by_reason.items():
            numbers = [f"{count:,}" if count else "·" for source in sources for count in cells.get(source, (0, 0))]
            table.add_row(stage, reason, *numbers)
        table.add_section()
    return table


def _outcome_table(part: list[SourceFunnel], funnels: list[SourceFunnel], complete: bool) -> Table:
    """A column for each source of `part`, and one for all `funnels`; in a complete run no row is still to do."""
    table = Table(title="Where every row went", title_justify="left")
    table.add_column("rows")
    for funnel in part:
        table.add_column(funnel.source, justify="right")
    if len(funnels) > 1:
        table.add_column("all", justify="right")

    def add(label: str, rows: Callable[[SourceFunnel], int], style: str = "", end: bool = False) -> None:
        total = [sum(map(rows, funnels))] if len(funnels) > 1 else []
        table.add_row(label, *(f"{number:,}" for number in [*map(rows, part), *total]), style=style, end_section=end)

    add("read", lambda funnel: funnel.read, end=True)
    for key, (_, outcome) in OUTCOMES.items():
        published = key == "published"
        add(outcome.label, lambda funnel, key=key: funnel.outcomes[key], "bold green" if published else "", published)  # type: ignore[misc]
    add(undecided(complete).label, lambda funnel: funnel.waiting)
    return table
