"""One try at one shard: files are written to a local folder, then committed all together.

Commit: data under names that hold a part of their SHA-256, so that no two contents ever share a name; then the manifest, by
creating it where there is none. Of two attempts the first one wins; what the other one wrote is named by no manifest, is never
read, and goes when the next driver collects garbage. No lock is held, so workers do not wait for one another.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from foundation.storage import StorageError
from pipeline.run.folder import Run
from pipeline.run.ledger import write_ledger
from pipeline.run.manifest import CONTENT_DIGITS, Manifest, recorded_versions
from pipeline.run.names import LEDGER


@contextmanager
def begin_attempt(run: Run, stage: str, shard: str) -> Iterator[Attempt]:
    """A try at a shard, with a local folder of its own that is removed at the end, committed or not."""
    folder = run.storage.scratch() / f"{stage}-{shard}-{uuid.uuid4().hex[:12]}"
    folder.mkdir(parents=True)
    try:
        yield Attempt(run, stage, shard, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Attempt:
    """A file whose name will be SHARD and an ending is written to `output(ending)`; `ledger` writes the rows that the stage did
    not hand on. `commit` makes them part of the run."""

    run: Run
    stage: str
    shard: str
    folder: Path
    began: float = field(default_factory=time.time)  # Unix seconds
    _files: dict[Path, str] = field(default_factory=dict)  # written → ending
    _scratch: dict[Path, str] = field(default_factory=dict)

    def output(self, ending: str, written: str = "") -> Path:
        """Where to write the file that becomes SHARD and `ending` (such as `.parquet`) in the stage's folder; `written` is
        its name until then, where that is fixed."""
        path = self.folder / (written or f"output{ending}")
        self._files[path] = ending
        return path

    def scratch(self, ending: str) -> Path:
        """As `output`, of a file that a later stage removes when it has used it; the manifest holds no hash of it."""
        path = self.folder / f"scratch{ending}"
        self._scratch[path] = ending
        return path

    def ledger(self, rows: pa.Table | list[dict[str, Any]]) -> int:
        """Write the ledger file of this shard (also an empty one, so that its absence always means something); return the
        number of its rows."""
        path = self.folder / "ledger.parquet"
        self._files[path] = LEDGER
        return write_ledger(path, rows)

    def commit(self, counts: Mapping[str, Any]) -> bool:
        """Hand the files to the run's storage and write the manifest, last.

        Returns:
            True where this attempt won.

        Raises:
            Superseded: another process drives the run by now; nothing of this attempt counts.
        """
        self.run.check_lease()  # before files are put that only the next driver would remove
        if self.run.manifest(self.stage, self.shard):
            return False
        files, staged = self._store()
        scratch = {path: self._scratch_name(ending) for path, ending in self._scratch.items()}
        for path, name in scratch.items():
            self.run.storage.put(name, path)
        manifest = Manifest(
            stage=self.stage,
            shard=self.shard,
            digest=self.run.digest(self.stage),
            counts=dict(counts),
            files=files,
            scratch=[*scratch.values(), *staged],
            versions=recorded_versions(),
        )
        won = self._create(manifest)
        if won:
            with suppress(StorageError):  # for people alone
                self.run.note_time(self.stage, self.shard, self.began, time.time(), platform.node())
        return won

    def _store(self) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """Puts all files; the answer is what the manifest says of them, and the names of those that wait to be published under
        other ones."""
        layout = self.run.stages[self.stage]
        files, staged = {}, []
        for path, ending in self._files.items():
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            described = {"bytes": path.stat().st_size, "sha256": sha256}
            folder, suffix = (layout.ledger, ".parquet") if ending == LEDGER else (layout.folder, ending)
            name = f"{folder}/{self.shard}-{sha256[:CONTENT_DIGITS]}{suffix}"
            self.run.storage.put(name, path)
            if layout.published and ending != LEDGER:
                staged.append(name)
                name = f"{layout.published}/{self.shard}{suffix}"
            files[name] = described
        return files, staged

    def _create(self, manifest: Manifest) -> bool:
        name, content = self.run.manifest_name(self.stage, self.shard), manifest.to_json().encode()
        self.run.check_lease()
        while not self.run.storage.create(name, content):
            if self.run.manifest(self.stage, self.shard):
                return False
            self.run.check_lease()  # or this worker is the late one
            self.run.storage.remove(name)  # of another recipe, by a worker whose driver is gone: it counts for nobody
        return True

    def _scratch_name(self, ending: str) -> str:
        """Scratch is large and does not depend on who makes it: the recipe's digest stands for its content."""
        layout = self.run.stages[self.stage]
        return f"{layout.folder}/{self.shard}-{layout.digest[:CONTENT_DIGITS]}{ending}"
