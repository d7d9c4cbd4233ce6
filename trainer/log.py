"""What a training reports while it runs: a line on the terminal, log.jsonl, TensorBoard."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from foundation.console import announce, messages
from foundation.log import logger


class TrainingLog:
    """Progress bar, log.jsonl and TensorBoard events of the first rank; silent on all others."""

    def __init__(self, folder: Path, step: int, enabled: bool) -> None:
        """Continues the log in `folder` after `step`; lines of later steps, which will be done again, are dropped."""
        self.enabled, self.path = enabled, folder / "log.jsonl"
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=messages(quiet=not enabled), disable=not enabled)
        if enabled:
            folder.mkdir(parents=True, exist_ok=True)
            kept = [line for line in read_log(self.path) if line["step"] <= step]
            self.path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def __enter__(self) -> TrainingLog:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()
        if self.enabled:
            self.board.close()

    def stage(self, name: str, steps: int, done: int) -> None:
        """A stage begins, or goes on after `done` of its steps."""
        for task in self.progress.task_ids:
            self.progress.update(task, visible=False)
        self._event("stage begins", stage=name, steps=steps, done=done)
        self.task = self.progress.add_task(name, total=steps, completed=done, text="")

    def step(self, line: dict[str, Any], write: bool) -> None:
        """One step is done; `write` says whether it goes into the files as well."""
        text = f"loss {line['loss']:.3f}  scale {line['logit_scale']:.1f}  {line['pairs_per_second']:,.0f} pairs/s  "
        self.progress.update(
            self.task, advance=1, text=text + f"waiting {line['data_wait']:.0%}  {line['memory_mib']:,.0f} MiB"
        )
        if write:
            self._write(line, "train")
            self._event("step", **line)

    def evaluation(self, line: dict[str, Any]) -> None:
        """Recall on an evaluation set."""
        self._write(line, f"retrieval/{line['evaluation']}")
        self.announce(f"step {line['step']:,}  {line['evaluation']}: mean recall {line['mean_recall']:.1f}", **line)

    def announce(self, text: str, **fields: Any) -> None:
        """A line for people, or an event with its fields where the log is JSON."""
        if self.enabled:
            announce("train", text, **fields)

    def _event(self, text: str, **fields: Any) -> None:
        if self.enabled:
            logger("train").info(text, extra={"fields": fields})

    def _write(self, line: dict[str, Any], group: str) -> None:
        if not self.enabled:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for name, figure in line.items():
            if isinstance(figure, int | float) and name != "step":
                self.board.add_scalar(f"{group}/{name}", figure, line["step"])


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; a line that a kill cut off is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


class Stopwatch:
    """Where the time of a step goes: waiting for data, or computing."""

    def __init__(self) -> None:
        self.last = time.perf_counter()
        self.waited = 0.0

    def data_is_here(self) -> None:
        """Ends the wait that began when the last step ended."""
        self.waited = time.perf_counter() - self.last

    def step_is_done(self) -> tuple[float, float]:
        """Seconds of the step, and the share of them spent waiting for data."""
        now = time.perf_counter()
        seconds, self.last = now - self.last, now
        return seconds, self.waited / max(seconds, 1e-9)


def memory_mib() -> float:
    """Peak memory of this process: of the GPU where there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
