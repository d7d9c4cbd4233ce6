"""The processes of `workers`: a driver that leaves a worker behind, and that worker.

python -m benchmarks.soak.late drive ADDRESS STAGE SIGNS         does the stages before STAGE and holds the lease
python -m benchmarks.soak.late work ADDRESS STAGE SIGNS POINT    does an item of it under that lease, halted at POINT

Signs are files in the folder SIGNS: `epoch` is written by the driver; `halted` by the worker, which goes on when there is
`go`, and says in `ended` what became of its item.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from foundation.storage import Storage
from pipeline.run.folder import Run
from pipeline.run.lease import Superseded, drive
from pipeline.run.manifest import RunError
from pipeline.stages.opening import read_run
from pipeline.stages.registry import STAGES, enabled

POINTS = ("before its files", "before its manifest")


class Halting:
    """A storage whose user halts once: as it hands its first file over, or between its last look at the lease and its manifest."""

    def __init__(self, storage: Storage, point: str, signs: Path) -> None:
        self._storage, self._point, self._signs = storage, point, signs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def create(self, name: str, content: bytes) -> bool:
        """As the storage does."""
        if self._point == "before its manifest":
            self._halt()
        return self._storage.create(name, content)

    def scratch(self) -> Path:
        """As the storage does: the first thing that an attempt asks for."""
        if self._point == "before its files":
            self._halt()
        return self._storage.scratch()

    def _halt(self) -> None:
        if not (self._signs / "halted").exists():
            _sign(self._signs / "halted")
            while not (self._signs / "go").exists():
                time.sleep(0.02)


def hold(address: str, stage: str, signs: Path) -> None:
    """Be the driver, and never end."""
    run = read_run(address)
    with drive(run.storage) as lease:
        run = replace(run, epoch=lease.epoch)
        for earlier in enabled(run.recipe):
            earlier.prepare(run)
        for earlier in enabled(run.recipe):
            if earlier.name == stage:
                break
            for item in earlier.pending(run):
                earlier.process(run, item)
            earlier.check(run)
            earlier.finish(run)
        _sign(signs / "epoch", str(lease.epoch))
        while True:
            time.sleep(1)


def work(address: str, stage: str, signs: Path, point: str) -> None:
    """Be the worker, with the first item of the stage."""
    run: Run = replace(read_run(address), epoch=int((signs / "epoch").read_text()))
    item = STAGES[stage].pending(run)[0]
    try:
        STAGES[stage].process(replace(run, storage=Halting(run.storage, point, signs)), item)
    except Superseded:
        end = "superseded"
    except (RunError, FileNotFoundError):
        end = "found its input gone"
    else:
        noted = run.times(stage)
        own = [line for line in noted if line["shard"] == item.name and line["ended"] > (signs / "go").stat().st_mtime]
        end = "committed" if own else "lost"
    _sign(signs / "ended", end)


def _sign(path: Path, text: str = "") -> None:
    part = path.with_suffix(".part")
    part.write_text(text)
    part.rename(path)


if __name__ == "__main__":
    {"drive": hold, "work": work}[sys.argv[1]](*sys.argv[2:4], Path(sys.argv[4]), *sys.argv[5:])  # type: ignore[operator]
