"""What the trials share: a world that is served, an undisturbed run of it, places for runs, and what a run is compared by."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from demo import curation
from foundation.storage import Objects, Storage, open_storage
from pipeline.run.folder import Run
from pipeline.run.names import DATASET
from pipeline.stages.opening import read_run
from pipeline.stages.publish.card import stored_root
from pipeline.stages.registry import STAGES, enabled
from tests.support import warm
from tests.support.s3 import S3Server

Row = tuple[str, ...]
IDENTITY = ["stage", "source", "file", "row", "key"]
"""Columns of the ledger that tell its rows apart."""


@dataclass
class Line:
    """A line of the table at the end: what was tried, how often, and what became of the runs."""

    what: str
    times: int = 0
    lost: int = 0
    duplicated: int = 0
    equal: bool = True  # what was published, byte for byte
    verify: bool = True  # exit code 0 of `zhclip verify --root`, with the root of the undisturbed run
    notes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def problem(self, text: str) -> None:
        """Note what is not as it has to be, and say it at once."""
        self.problems.append(text)
        print(f"{self.what}: {text}", flush=True)

    @property
    def holds(self) -> bool:
        """Whether everything is as it has to be."""
        return not (self.lost or self.duplicated or self.problems) and self.equal and self.verify


@dataclass(frozen=True)
class Undisturbed:
    """What a run that nothing happened to made."""

    folder: Path
    files: dict[str, bytes]
    rows: Counter[Row]
    root: str

    @classmethod
    def of(cls, folder: Path) -> Undisturbed:
        """The one in a folder, which is complete."""
        run = read_run(folder)
        return cls(folder, files_of(run.storage), rows_of(run), stored_root(run) or "")


@dataclass(frozen=True)
class Ground:
    """Where trials take place.

    Attributes:
        at: a folder, or an address on a server, below which runs are made.
        server: the one of that address; None on disk.
        seconds: that an undisturbed run takes.
    """

    site: curation.Site
    undisturbed: Undisturbed
    at: str
    server: S3Server | None = None
    seconds: float = 20

    @property
    def name(self) -> str:
        """For people."""
        return "S3" if self.server else "disk"

    def start(self, address: str, *options: str, verb: str = "curate") -> warm.Process:
        """`zhclip VERB` on a run, in a process group of its own."""
        command = self.site.command(address, "--workers 2", *options, verb=verb)  # type: ignore[arg-type]
        return warm.Process(command, env=self.environment(), group=True)

    def environment(self, **others: str) -> dict[str, str]:
        """That of a process."""
        return {**os.environ, **warm.ONE_THREAD, **(self.server.environment() if self.server else {}), **others}

    def copy(self, address: str, stages: int | None = None) -> Run:
        """The undisturbed run at another address; with `stages`, so many of its stages alone are done."""
        storage = open_storage(address)
        source = open_storage(self.undisturbed.folder)
        for entry in source.list():
            if not entry.name.startswith("."):
                storage.put(entry.name, source.read(entry.name))
        run = read_run(address)
        for stage in list(STAGES)[len(STAGES) if stages is None else stages :][::-1]:
            run.discard(stage)
        return run

    def finish(self, address: str, line: Line, *options: str, tries: int = 1) -> None:
        """Curate until it is complete, then `judge`."""
        for left in range(tries - 1, -1, -1):
            process = self.start(address, *options)
            _, said = process.communicate()
            if process.returncode == 0:
                break
            line.notes["was run once more"] += 1
            if not left:
                line.problem(f"{address}: exit code {process.returncode}: {said[-500:]}")
        self.judge(address, line)

    def judge(self, address: str, line: Line, undisturbed: Undisturbed | None = None) -> None:
        """Compare a run that should be complete with the undisturbed one."""
        wanted = undisturbed or self.undisturbed
        run = read_run(address)
        rows = rows_of(run)
        line.lost += (wanted.rows - rows).total()
        line.duplicated += (rows - wanted.rows).total()
        line.equal &= files_of(run.storage) == wanted.files
        command = [sys.executable, "-m", "zhclip", "verify", address, "--root", wanted.root]
        done = warm.run(command, env=self.environment())
        if done.returncode:
            line.verify = False
            line.problem(f"verify {address}: exit code {done.returncode}: {(done.stdout + done.stderr)[-500:]}")

    def remove(self, address: str) -> None:
        """What is proved needs no room any more."""
        storage = open_storage(address)
        for entry in list(storage.list()):
            storage.remove(entry.name)
        if not self.server:
            shutil.rmtree(address, ignore_errors=True)


@contextmanager
def on_server(site: curation.Site, undisturbed: Undisturbed, folder: Path, seconds: float = 20) -> Iterator[Ground]:
    """A ground on a server of its own, which programs of this process find."""
    with S3Server.versitygw(folder / "objects") as server:
        before = {name: os.environ.get(name) for name in server.environment()}
        os.environ.update(server.environment())
        try:
            yield Ground(site, undisturbed, f"{server.make_bucket('soak')}/{folder.name}", server, seconds)
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def kill(process: warm.Process) -> bool:
    """SIGKILL to its whole group; False where it had ended before."""
    if process.poll() is not None:
        return False
    with suppress(ProcessLookupError):  # it has no group yet
        os.killpg(process.pid, signal.SIGKILL)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def wait_for(process: warm.Process, path: Path) -> None:
    """Until a process has made a file.

    Raises:
        RuntimeError: it ended and made none.
    """
    while not path.exists():
        if process.poll() is not None and not path.exists():
            raise RuntimeError(f"{process.args} ended with {process.returncode}: {process.communicate()[1][-2000:]}")
        time.sleep(0.02)


def files_of(storage: Storage) -> dict[str, bytes]:
    """Every file that is published."""
    return {entry.name: storage.read(entry.name) for entry in storage.list(f"{DATASET}/")}


def rows_of(run: Run) -> Counter[Row]:
    """Every row that the run accounts for: published ones, and those of the ledger."""
    rows = Counter[Row]()
    for manifest in run.manifests("publish"):
        keys = pq.read_table(run.storage.open(manifest.file(".parquet")), columns=["key"])["key"].to_pylist()
        rows.update(("published", key) for key in keys)
    for stage in STAGES:
        for manifest in run.manifests(stage):
            if manifest.ledger:
                table = run.ledger(stage, manifest.shard, columns=IDENTITY)
                rows.update(tuple(map(str, row.values())) for row in table.to_pylist())
    return rows


def stage_of(address: str) -> str:
    """The stage that a run is at: the last one that has a shard."""
    if not isinstance(open_storage(address), Objects) and not Path(address, "recipe.yaml").exists():
        return "start"
    try:
        run = read_run(address)
    except Exception:  # killed before there was a recipe
        return "start"
    begun = [stage.name for stage in enabled(run.recipe) if run.manifest_entries(stage.name)]
    return begun[-1] if begun else "start"
