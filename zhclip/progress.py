"""Progress of a run on the terminal, read off its manifests: the same whatever runner does the work."""

from __future__ import annotations

import threading
import time
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

from pipeline.run.folder import Run
from pipeline.stages.base import Stage

INTERVAL = 0.5  # s between two looks at the folder


@dataclass
class StageProgress:
    """One stage: which of its shards are committed, and the rows in them."""

    stage: Stage
    run: Run
    total: int
    task: TaskID
    begun: float = field(default_factory=time.monotonic)
    seen: set[str] = field(default_factory=set)
    rows_in: int = 0
    rows_out: int = 0
    rows_before: int = -1  # rows that an earlier process had done

    def look(self) -> None:
        """Takes in the manifests that are new since the last look."""
        for shard in sorted(self.run.done(self.stage.name) - self.seen):
            manifest = self.run.manifest(self.stage.name, shard)
            if manifest:
                self.seen.add(shard)
                self.rows_in += manifest.counts["in"]
                self.rows_out += manifest.counts["out"]
        if self.rows_before < 0:
            self.rows_before = self.rows_in

    @property
    def text(self) -> str:
        """Rows, rows per second since this process began, share kept."""
        seconds = max(time.monotonic() - self.begun, 1e-9)
        rate = (self.rows_in - self.rows_before) / seconds
        kept = f"{self.rows_out / self.rows_in:4.0%} kept" if self.rows_in else ""
        return f"{self.rows_in:>12,} rows {rate:>9,.0f}/s {kept:>9}"


class ProgressWatch:
    """Shows a bar per step; call it with each step as it begins, and use it as a context manager."""

    def __init__(self, console: Console) -> None:
        columns = (
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<14}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rows]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self.progress = Progress(*columns, console=console)
        self.current: StageProgress | None = None
        self.stopped = threading.Event()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._poll, daemon=True)

    def __call__(self, stage: Stage, run: Run, expected: list[str]) -> None:
        """A stage begins."""
        with self.lock:
            self._update()
            task = self.progress.add_task(stage.label, total=len(expected), rows="")
            self.current = StageProgress(stage, run, len(expected), task)
            self._update()

    def __enter__(self) -> ProgressWatch:
        self.progress.start()
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        self.thread.join()
        with self.lock:
            self._update()
        self.progress.stop()

    def _poll(self) -> None:
        while not self.stopped.wait(INTERVAL):
            with self.lock:
                self._update()

    def _update(self) -> None:
        if self.current:
            self.current.look()
            self.progress.update(self.current.task, completed=len(self.current.seen), rows=self.current.text)
