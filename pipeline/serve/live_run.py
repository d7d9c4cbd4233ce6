"""A run as it is now: its manifests are read once, and again only where a stage's folder has changed."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.inspect.catalog import write_catalog
from pipeline.inspect.catalog.index import funnel_table
from pipeline.inspect.funnel import SourceFunnel, reasons, source_funnels
from pipeline.inspect.status import stage_progress
from pipeline.run.folder import Run
from pipeline.run.manifest import Manifest, RunError
from pipeline.run.names import LAYOUT_FILE, RECIPE_FILE
from pipeline.stages.opening import read_run
from pipeline.stages.registry import STAGES

SETTLED_SECONDS = 2.0  # a folder that changed later than that may change again within the same tick of its clock
REFRESH_SECONDS = 1.0  # between two refreshes of a run that is at work
CATALOG_AGE = 10.0  # s that SQL may lag behind a run that is at work
REASONS_AGE = 60.0  # s that counts of reasons may lag behind it
COUNTING = ThreadPoolExecutor(1, "reasons")  # runs one after the other


@dataclass(frozen=True)
class StageState:
    """How far one stage is."""

    name: str
    label: str
    done: int  # shards
    expected: int | None  # None while the stages before it are not complete


@dataclass(frozen=True)
class Progress:
    """What the manifests of a run say, at one moment."""

    state: str  # another text whenever something was committed
    stages: list[StageState]
    funnels: list[SourceFunnel]
    changed: float  # Unix seconds of the last commit; 0 where there is none

    @property
    def complete(self) -> bool:
        """Whether all shards of all stages are there."""
        return all(stage.done == stage.expected for stage in self.stages)

    @property
    def current(self) -> StageState | None:
        """The first stage that is not complete."""
        return next((stage for stage in self.stages if stage.done != stage.expected), None)


@dataclass
class _StageManifests:
    """The manifests of one stage, and when its folder had last changed when they were read."""

    changed: int  # of the folder, ns
    settled: bool
    manifests: dict[str, Manifest]
    listed: dict[str, str]  # shard → version of its manifest in the listing


@dataclass(frozen=True)
class CachedRun(Run):
    """A Run whose `manifests` costs next to nothing while nothing is committed."""

    seen: dict[str, _StageManifests] = field(default_factory=dict, compare=False, repr=False)
    versions: dict[str, dict[str, str]] = field(default_factory=dict, compare=False, repr=False)
    lock: threading.RLock = field(default_factory=threading.RLock, compare=False, repr=False)

    def manifests(self, stage: str) -> list[Manifest]:
        """As Run.manifests, from memory where the stage's folder is as it was."""
        return list(self._committed(stage).values())

    def committed(self, stage: str) -> dict[str, Manifest]:
        """The manifests that count, by shard, in shard order, if their files can be read. Callers must not change the dict."""
        return self._committed(stage) if self.is_readable(stage) else {}

    def _committed(self, stage: str) -> dict[str, Manifest]:
        with self.lock:
            changed = _changed(self.folder / self.stages[stage].folder)
            before = self.seen.get(stage)
            if before is None or not before.settled or before.changed != changed:
                before = self._refresh(stage, changed, before or _StageManifests(0, False, {}, {}))
                self.seen[stage] = before
            return before.manifests

    def path(self, stage: str, shard: str, ending: str = ".parquet") -> str:
        """The path of a file of a committed shard."""
        return str(self.folder / self.committed(stage)[shard].file(ending))

    def ledger_path(self, stage: str, shard: str) -> str:
        """The path of the ledger of a committed shard."""
        return str(self.folder / (self.committed(stage)[shard].ledger or ""))

    def _refresh(self, stage: str, changed: int, before: _StageManifests) -> _StageManifests:
        settled = time.time() - changed / 1e9 > SETTLED_SECONDS
        manifests, listed = {}, {}
        for shard, entry in self.manifest_entries(stage).items():
            known = before.manifests.get(shard) if before.listed.get(shard) == entry.version else None
            manifest = known or self._slimmed(stage, shard)
            if manifest:
                manifests[shard], listed[shard] = manifest, entry.version
        return _StageManifests(changed, settled, manifests, listed)

    def _slimmed(self, stage: str, shard: str) -> Manifest | None:
        try:
            manifest = self.manifest(stage, shard)
        except RunError:
            return None  # no manifest at all
        return self._slim(manifest) if manifest else None

    def _slim(self, manifest: Manifest) -> Manifest:
        """The manifest with one object for the versions that all shards share."""
        versions = self.versions.setdefault(json.dumps(manifest.versions, sort_keys=True), manifest.versions)
        return replace(manifest, versions=versions)


class LiveRun:
    """One run with its progress and counts, refreshed when it moves on. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self.run = CachedRun(**read_run(folder).__dict__)
        self._recipe = _changed(folder / RECIPE_FILE)
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._refreshed = 0.0
        self._catalog: tuple[float, str, Path] | None = None
        self._reasons: tuple[Future[list[dict[str, Any]]], str, float] | None = None
        self.memory: dict[str, Any] = {}  # answers about one state of the run, by name; see `once`

    @property
    def stale(self) -> bool:
        """Whether the recipe was changed, so that other manifests may count."""
        return _changed(self.run.folder / RECIPE_FILE) != self._recipe

    def progress(self) -> Progress:
        """How far the run is now."""
        with self._lock:
            now = time.monotonic()
            if self._progress is None or (
                now - self._refreshed > REFRESH_SECONDS and self._state() != self._progress.state
            ):
                self._progress = self._read_progress()
                self.memory = {}
            self._refreshed = now
            return self._progress

    def funnel(self) -> list[dict[str, Any]]:
        """Rows of the catalog's view `funnel`."""
        rows: list[dict[str, Any]] = self.once("funnel", lambda: funnel_table(self.run).to_pylist())
        return rows

    def catalog(self) -> Path:
        """The folder that holds the run's catalog, which lags by seconds at most while the run is at work."""
        progress = self.progress()
        with self.run.lock:
            made, state, folder = self._catalog or (0.0, "", Path())
            if state != progress.state and time.monotonic() - made > CATALOG_AGE:
                folder = Path(write_catalog(self.run).address)
                self._catalog = time.monotonic(), progress.state, folder
            return folder

    def reasons(self, wait: bool) -> list[dict[str, Any]] | None:
        """Rows of `pipeline.inspect.funnel.reasons`: counted once, in another thread, as that takes seconds on a large run.

        Args:
            wait: until they are counted; else None is returned while they are not.
        """
        progress = self.progress()
        with self._lock:
            counted, asked_for, at = self._reasons or (None, "", 0.0)
            if counted is None or (
                asked_for != progress.state and counted.done() and time.monotonic() - at > REASONS_AGE
            ):
                counted = COUNTING.submit(lambda: reasons(self.run).to_pylist())
                self._reasons = counted, progress.state, time.monotonic()
        return counted.result() if wait or counted.done() else None

    def once(self, name: str, make: Any) -> Any:
        """What `make()` returns, kept until the run moves on."""
        self.progress()
        memory = self.memory
        if name not in memory:
            memory[name] = make()
        return memory[name]

    def _read_progress(self) -> Progress:
        state = self._state()
        stages = [StageState(it.stage, STAGES[it.stage].label, it.done, it.expected) for it in stage_progress(self.run)]
        changed = max(self._changes()) / 1e9
        return Progress(state, stages, source_funnels(self.run), changed)

    def _state(self) -> str:
        """Differs as soon as a shard was committed or discarded; for a while after that always, as clocks are coarse."""
        changed = [*self._changes(), _changed(self.run.folder / LAYOUT_FILE)]
        recent = time.time() - max(changed) / 1e9 < SETTLED_SECONDS
        return f"{changed}{time.monotonic_ns() if recent else ''}"

    def _changes(self) -> list[int]:
        """When each stage committed or published something, in ns."""
        layouts = self.run.stages.values()
        folders = {folder for layout in layouts for folder in (layout.folder, layout.published) if folder}
        return [_changed(self.run.folder / folder) for folder in sorted(folders)]


def _changed(path: Path) -> int:
    """Time of the last change, in ns; 0 where there is nothing."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
