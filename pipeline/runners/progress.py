"""How far a run is while it works, read off its manifests: the same whatever runner does the work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.run.folder import Run
from pipeline.stages.base import Stage

INTERVAL = 0.5  # s between two looks at the run, at least
LOOKING_SHARE = 0.05  # of the time, at most: a look at a large run takes long itself


@dataclass(frozen=True)
class Progress:
    """One stage of a run at one moment. Shards and rows that an earlier process did are counted too."""

    stage: str  # its name, as in `status`
    label: str  # for people
    done: int  # shards that are committed
    total: int  # shards that the stage has in this run
    rows_in: int  # rows in the shards that are done
    rows_out: int  # of those, rows that the stage handed on


ProgressCallback = Callable[[Progress], None]


@dataclass
class _StageReader:
    """Takes in the manifests of one stage, each once."""

    stage: Stage
    run: Run
    total: int
    seen: set[str] = field(default_factory=set)
    rows_in: int = 0
    rows_out: int = 0

    def read(self) -> Progress:
        for manifest in self.run.manifests(self.stage.name):
            if manifest.shard not in self.seen:
                self.seen.add(manifest.shard)
                self.rows_in += manifest.counts["in"]
                self.rows_out += manifest.counts["out"]
        stage = self.stage
        return Progress(stage.name, stage.label, len(self.seen), self.total, self.rows_in, self.rows_out)


class ProgressReader:
    """Calls a function whenever a run has moved on; a context manager, told of each stage as it begins.

    The function is called once as a stage begins and once when it is complete, and in between, from a thread of its own, at most
    every `INTERVAL` seconds; never by two threads at a time. What it raises ends the run as the next stage begins or the last
    one is complete: shards at work are not torn down.
    """

    def __init__(self, callback: ProgressCallback) -> None:
        self._callback = callback
        self._reader: _StageReader | None = None
        self._last: Progress | None = None
        self._error: Exception | None = None
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __call__(self, stage: Stage, run: Run, shards: list[str]) -> None:
        """A stage begins."""
        with self._lock:
            self._report()
            self._reader = _StageReader(stage, run, len(shards))
            self._report()
        self._raise()

    def __enter__(self) -> ProgressReader:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        with self._lock:
            self._report()
        if kind is None:
            self._raise()

    def _poll(self) -> None:
        pause = INTERVAL
        while not self._stopped.wait(pause):
            with self._lock:
                began = time.monotonic()
                self._report()
            pause = max(INTERVAL, (time.monotonic() - began) / LOOKING_SHARE)

    def _report(self) -> None:
        if self._reader is None or self._error:
            return
        progress = self._reader.read()
        if progress == self._last:
            return
        self._last = progress
        try:
            self._callback(progress)
        except Exception as error:  # the caller's: raised where it can be seen
            self._error = error

    def _raise(self) -> None:
        if self._error:
            raise self._error
