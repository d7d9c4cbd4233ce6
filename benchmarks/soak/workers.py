"""A driver is killed and its worker lives on: it goes on with its item when another driver, with another threshold, is done or
at work."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.soak.ground import Ground, Line, Undisturbed, kill, wait_for
from benchmarks.soak.late import POINTS
from pipeline.run.lease import latest
from pipeline.stages.opening import read_run
from pipeline.stages.registry import STAGES, enabled
from tests.support import warm

THRESHOLD = "--set sources.laion.min_score=0.3 --set sources.wukong.min_score=0.3"

ENDS = ("superseded", "lost", "found its input gone")
"""What may become of a late worker's item."""


def late_workers(ground: Ground, folder: Path, stages: Sequence[str] = (), points: Sequence[str] = POINTS) -> Line:
    """A worker of each stage (by default all that the recipe has), halted at each point."""
    line = Line(f"a worker outlives its driver, {ground.name}")
    other = _with_threshold(ground, folder)
    names = stages or [stage.name for stage in enabled(read_run(ground.undisturbed.folder).recipe)]
    for stage in names:
        for number, point in enumerate(points):
            address = f"{ground.at}/late-{stage}-{number}"
            _one(ground, address, folder / f"signs-{stage}-{number}", stage, point, line)
            ground.judge(address, line, other)
            ground.remove(address)
    return line


def _with_threshold(ground: Ground, folder: Path) -> Undisturbed:
    on_disk = replace(ground, at=str(folder), server=None)
    on_disk.copy(str(folder / "threshold"))
    _, said = (process := on_disk.start(str(folder / "threshold"), THRESHOLD)).communicate()
    assert process.returncode == 0, said
    return Undisturbed.of(folder / "threshold")


def _one(ground: Ground, address: str, signs: Path, stage: str, point: str, line: Line) -> None:
    signs.mkdir()
    before = list(STAGES).index(stage)
    # What read and filter hand on is gone when the plan is complete, so that those stages are done anew.
    ground.copy(address, before if before > list(STAGES).index("plan") else 0)
    words = [address, stage, str(signs)]
    driver = _process(ground, "drive", *words)
    wait_for(driver, signs / "epoch")
    worker = _process(ground, "work", *words, point)
    wait_for(worker, signs / "halted")
    assert kill(driver)
    process = ground.start(address, THRESHOLD)
    _, said = process.communicate()
    if process.returncode or "took over" not in said:
        line.problem(f"{address}: exit code {process.returncode} behind a driver that was killed: {said[-500:]}")
    epoch = latest(read_run(address).storage)[0]
    (signs / "go").touch()
    _, said = worker.communicate()
    end = (
        (signs / "ended").read_text() if (signs / "ended").exists() else f"a worker of {stage} ended with {said[-500:]}"
    )
    line.times += 1
    line.notes[end if end in ENDS else "otherwise"] += 1
    if end not in ENDS or latest(read_run(address).storage)[0] != epoch:
        line.problem(f"{address}, halted {point}: {end}")


def _process(ground: Ground, *words: str) -> warm.Process:
    command = [sys.executable, "-m", "benchmarks.soak.late", *words]
    return warm.Process(command, env=ground.environment(), group=True)
