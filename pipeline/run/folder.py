"""A run folder and its guarantees: atomic commits, manifests, and what is done.

A shard is done when its manifest exists and carries the digest of the recipe as it is now. The manifest is written last,
so a process killed at any moment leaves either a finished shard or nothing that a reader would look at.
"""

from __future__ import annotations

import fcntl
import json
import platform
import shutil
import time
import uuid
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from foundation import __version__
from foundation.errors import InvalidInput
from pipeline.recipe import Recipe
from pipeline.run.files import locked, move_into_place, sha256_of, sync_file, write_atomically
from pipeline.run.ledger import write_ledger
from pipeline.run.names import ATTEMPTS, DATASET_MANIFEST, LEDGER, LOCKS, TIMES

RECORDED_VERSIONS = ("apache-beam", "pyarrow", "polars", "duckdb", "img2dataset", "torch", "open_clip_torch")


class RunError(InvalidInput):
    """A run folder that cannot be used as asked; the message says what to do."""


@dataclass(frozen=True)
class Item:
    """A piece of work of one stage, as it travels through Beam."""

    name: str  # of its shard, unless the stage says otherwise
    detail: Any = None  # what the driver worked out from all manifests, so that no worker has to read them


@dataclass(frozen=True)
class StageLayout:
    """Where a stage of one run keeps its files, and what its manifests must say."""

    name: str
    folder: str  # relative to the run folder
    digest: str  # of the recipe, up to this stage
    per_plan_shard: bool  # whether its shards, and those of its ledger, are the plan's


@dataclass(frozen=True)
class Manifest:
    """What one shard of one stage holds. Files are named relative to the run folder."""

    stage: str
    shard: str
    digest: str  # of the recipe, up to this stage
    counts: dict[str, Any]  # rows in and out; `sources` has them by source
    files: dict[str, dict[str, Any]]  # name → {"bytes": int, "sha256": hex}
    scratch: list[str] = field(default_factory=list)  # files that a later stage removes when it has used them
    versions: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def from_json(text: str) -> Manifest:
        """The inverse of `to_json`.

        Raises:
            ValueError: the text is no manifest; the message says why.
        """
        content = json.loads(text)
        names = [each.name for each in fields(Manifest)]
        if not isinstance(content, dict) or sorted(content) != sorted(names):
            raise ValueError("its names are not those of a manifest")
        manifest = Manifest(**content)
        texts = [manifest.stage, manifest.shard, manifest.digest, *manifest.files, *manifest.scratch]
        sizes = [described["bytes"] if _is_described(described) else None for described in manifest.files.values()]
        if not all(isinstance(text, str) for text in texts) or not all(type(size) is int for size in sizes):
            raise ValueError("its values are not of the kinds that a manifest has")
        if not isinstance(manifest.versions, dict) or not _are_counts(manifest.counts):
            raise ValueError("its counts or versions are not those of a manifest")
        return manifest

    def to_json(self) -> str:
        """The manifest as it lies on disk, without anything that differs between two runs on the same input."""
        return json.dumps(self.__dict__, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Run:
    """One run folder, with the recipe that it was started with (picklable: workers receive it as it is).

    `read_run` opens one in its folder, `open_run` and `curate` start or continue one: all three are names of `pipeline`.
    """

    folder: Path
    recipe: Recipe
    stages: Mapping[str, StageLayout]  # all of them, in order, also those that this recipe does not need

    def __new__(cls, *values: Any, **named: Any) -> Self:
        """As of any class, but a folder alone is refused; unpickling gives no values at all.

        Raises:
            RunError: what to call instead.
        """
        if len(values) + len(named) == 1:
            raise RunError("a folder alone makes no Run: open it with `pipeline.read_run(folder)`")
        return super().__new__(cls)

    def digest(self, stage: str) -> str:
        """The digest that a manifest of `stage` must carry to count."""
        return self.stages[stage].digest

    def path(self, stage: str, name: str) -> Path:
        """A file in the folder of a stage."""
        return self.folder / self.stages[stage].folder / name

    def ledger_path(self, stage: str, shard: str) -> Path:
        """The ledger file of one shard of a stage."""
        return self.folder / LEDGER / stage / f"{shard}.parquet"

    def between(self, first: str, last: str) -> list[str]:
        """Stages after `first` and before `last` that work on plan shards one by one."""
        names = list(self.stages)
        inner = names[names.index(first) + 1 : names.index(last)]
        return [name for name in inner if self.stages[name].per_plan_shard]

    def manifest(self, stage: str, shard: str) -> Manifest | None:
        """The manifest of a shard that is done, else None (also when it belongs to another recipe).

        Raises:
            RunError: it is damaged.
        """
        try:
            manifest = _read_manifest(self.path(stage, f"{shard}.json"))
        except FileNotFoundError:
            return None
        return manifest if manifest.digest == self.digest(stage) else None

    def manifests(self, stage: str) -> list[Manifest]:
        """All manifests of a stage that count, in shard order."""
        names = sorted(path.stem for path in self.path(stage, "").glob("[0-9]*.json"))
        return [manifest for name in names if (manifest := self.manifest(stage, name))]

    def done(self, stage: str) -> set[str]:
        """Names of a stage's shards whose manifest exists (stale ones are removed before a stage starts)."""
        return {path.stem for path in self.path(stage, "").glob("[0-9]*.json")}

    def times(self, stage: str) -> list[dict[str, Any]]:
        """When and where each shard of a stage was done, as noted at its commit: shard, began, ended (Unix seconds), host.

        Kept beside the manifests, which hold nothing that differs between two runs on the same input. Only for people: a
        line that cannot be read, because a crash cut it off, say, is skipped, and a shard may have several lines, of which the
        last counts.
        """
        try:
            lines = self.times_path(stage).read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        return [noted for line in lines if (noted := _noted_time(line)) is not None]

    def times_path(self, stage: str) -> Path:
        """The file that `times` reads."""
        return self.folder / TIMES / f"{stage}.jsonl"

    @contextmanager
    def attempt(self, stage: str, shard: str) -> Iterator[Attempt]:
        """A private folder to write a shard's files in; it is removed at the end, committed or not."""
        folder = self.folder / ATTEMPTS / f"{stage}-{shard}-{uuid.uuid4().hex[:12]}"
        folder.mkdir(parents=True)
        try:
            yield Attempt(self, stage, shard, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def discard(self, stage: str, keep_digest: str | None = None, shards: Container[str] | None = None) -> int:
        """Removes a stage's manifests (of `shards`, or all) and the files they name, unless they carry `keep_digest`;
        returns how many."""
        count = 0
        summary = self.path(stage, DATASET_MANIFEST)  # of what is published: it names all shards, so it goes first
        for path in self.path(stage, "").glob("[0-9]*.json"):
            if shards is not None and path.stem not in shards:
                continue
            manifest = _read_manifest(path)
            if manifest.digest != keep_digest:
                summary.unlink(missing_ok=True)
                path.unlink()  # first: without its manifest the shard no longer exists
                for name in [*manifest.files, *manifest.scratch]:
                    (self.folder / name).unlink(missing_ok=True)
                count += 1
        return count


@dataclass(frozen=True)
class Attempt:
    """One try at one shard: files are written in `folder`, then committed all together.

    A file whose final name is SHARD and an ending is written to `output(ending)`; `ledger` writes the rows that the stage did
    not hand on. `commit` moves them into place.
    """

    run: Run
    stage: str
    shard: str
    folder: Path
    began: float = field(default_factory=time.time)  # Unix seconds
    _files: dict[Path, Path] = field(default_factory=dict)  # written → final
    _scratch: dict[Path, Path] = field(default_factory=dict)

    def output(self, ending: str, written: str = "") -> Path:
        """Where to write the file that becomes SHARD and `ending` (such as `.parquet`) in the stage's folder; `written` is
        its name until then, where that is fixed."""
        return self._named(ending, written, self._files)

    def scratch(self, ending: str) -> Path:
        """As `output`, of a file that a later stage removes when it has used it; the manifest holds no hash of it."""
        return self._named(ending, "", self._scratch)

    def ledger(self, rows: pa.Table | list[dict[str, Any]]) -> int:
        """Write the ledger file of this shard (also an empty one, so that its absence always means something); return the
        number of its rows."""
        path = self.folder / "ledger.parquet"
        self._files[path] = self.run.ledger_path(self.stage, self.shard)
        return write_ledger(path, rows)

    def commit(self, counts: Mapping[str, Any]) -> bool:
        """Move the files into place and write the manifest, last.

        Two attempts at a shard are told apart by a lock that dies with its holder: the second finds the manifest and
        leaves everything as it is.

        Returns:
            True where this attempt won.
        """
        described = {self._name(final): _describe(written) for written, final in self._files.items()}
        with locked(self.run.folder / LOCKS / self.stage):
            if self.run.manifest(self.stage, self.shard):
                return False
            for written, final in {**self._files, **self._scratch}.items():
                move_into_place(written, final)
            manifest = Manifest(
                stage=self.stage,
                shard=self.shard,
                digest=self.run.digest(self.stage),
                counts=dict(counts),
                files=described,
                scratch=[self._name(final) for final in self._scratch.values()],
                versions=recorded_versions(),
            )
            write_atomically(self.run.path(self.stage, f"{self.shard}.json"), manifest.to_json())
            self._note_time()
        return True

    def _named(self, ending: str, written: str, files: dict[Path, Path]) -> Path:
        path = self.folder / (written or f"output{ending}")
        files[path] = self.run.path(self.stage, f"{self.shard}{ending}")
        return path

    def _note_time(self) -> None:
        path = self.run.times_path(self.stage)
        path.parent.mkdir(exist_ok=True)
        line = {"shard": self.shard, "began": self.began, "ended": time.time(), "host": platform.node()}
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(line))  # the line feed first: a line that was cut off spoils no other

    def _name(self, path: Path) -> str:
        return path.relative_to(self.run.folder).as_posix()


@contextmanager
def only_driver(run: Run) -> Iterator[None]:
    """Be the one process that works on this run, or changes what it holds.

    Raises:
        RunError: another process is.
    """
    locks = run.folder / LOCKS
    locks.mkdir(exist_ok=True)  # a copy of a run may lack hidden files
    with (locks / "driver").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"another process is working on {run.folder}; `zhclip status` shows how far it is") from None
        shutil.rmtree(run.folder / ATTEMPTS, ignore_errors=True)  # left by processes that were killed
        yield


@lru_cache(maxsize=1)
def recorded_versions() -> dict[str, str]:
    """Versions of those packages that decide what a shard holds and are installed: a download worker has no torch."""
    versions = {"zhclip": __version__}
    for name in RECORDED_VERSIONS:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _noted_time(line: str) -> dict[str, Any] | None:
    try:
        noted = json.loads(line)
    except ValueError:
        return None
    return noted if isinstance(noted, dict) and isinstance(noted.get("shard"), str) else None


def _read_manifest(path: Path) -> Manifest:
    try:
        return Manifest.from_json(path.read_text(encoding="utf-8"))
    except (ValueError, TypeError, RecursionError, AttributeError) as error:
        raise RunError(damaged_manifest(str(path), error)) from None


def damaged_manifest(name: str, reason: object) -> str:
    """What is said of a manifest that cannot be read."""
    return f"{name}: damaged, no manifest of a shard ({reason}); remove it, and `zhclip curate` makes the shard again"


def _is_described(described: Any) -> bool:
    """Whether something is what a manifest says of a file."""
    return isinstance(described, dict) and set(described) == {"bytes", "sha256"}


def _are_counts(counts: Any) -> bool:
    """Whether something has the form of a manifest's counts: rows in and out and, where there are sources, rows of each."""
    if not isinstance(counts, dict) or not all(type(counts.get(name, 0)) is int for name in ("in", "out")):
        return False
    sources = counts.get("sources", {})
    return isinstance(sources, dict) and all(
        isinstance(rows, dict) and all(type(number) is int for number in rows.values()) and {"in", "out"} <= set(rows)
        for rows in sources.values()
    )


def _describe(path: Path) -> dict[str, Any]:
    sync_file(path)
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
