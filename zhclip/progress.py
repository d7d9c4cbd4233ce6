"""Progress of a run on the terminal: a bar per stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from pipeline.runners.progress import Progress as StageProgress
from pipeline.runners.progress import ProgressCallback


@dataclass
class _Bar:
    task: TaskID
    rows_before: int  # rows that an earlier process had done
    began: float = field(default_factory=time.monotonic)

    def text(self, progress: StageProgress) -> str:
        """Rows, rows per second since this process began, share kept."""
        seconds = max(time.monotonic() - self.began, 1e-9)
        rate = (progress.rows_in - self.rows_before) / seconds
        kept = f"{progress.rows_out / progress.rows_in:4.0%} kept" if progress.rows_in else ""
        return f"{progress.rows_in:>12,} rows {rate:>9,.0f}/s {kept:>9}"


@contextmanager
def progress_bars(console: Console) -> Iterator[ProgressCallback]:
    """Show a bar per stage while the context lasts; gives the function that is to be told of every progress."""
    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description:<14}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rows]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    bars: dict[str, _Bar] = {}
    with Progress(*columns, console=console) as display:

        def show(progress: StageProgress) -> None:
            if progress.stage not in bars:
                task = display.add_task(progress.label, total=progress.total, rows="")
                bars[progress.stage] = _Bar(task, progress.rows_in)
            bar = bars[progress.stage]
            display.update(bar.task, completed=progress.done, rows=bar.text(progress))

        yield show
