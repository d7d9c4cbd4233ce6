"""A run folder and its guarantees: atomic commits, manifests, and what is done.

A shard is done when its manifest exists and carries the digest of the recipe as it is now. The manifest is written last,
so a process killed at any moment leaves either a finished shard or nothing that a reader would look at.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import time
import uuid
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import yaml

from foundation import __version__
from foundation.config import differences
from foundation.errors import InvalidInput
from pipeline.recipe import Recipe, dump_recipe
from pipeline.recipe.model import STAGES

Step = Literal["translate", "read", "judge", "plan", "download", "score", "test_images", "compare", "select", "publish"]
FOLDERS: dict[Step, str] = {
    "translate": "translate",  # English captions → Chinese, where a source has a model for it
    "read": "read",  # plan, part 1: metadata files → pairs, with what each row-wise rule said
    "judge": "judge",  # plan, part 2: pairs with an equal caption together → duplicates, frequencies, ledger
    "plan": "plan",  # plan, part 3: kept pairs in key order, cut into shards
    "download": "raw",
    "score": "scores",
    "test_images": "test_images",  # select, part 1: fingerprints of each test set, once
    "compare": "compare",  # select, part 2: what only all pairs together can tell
    "select": "select",
    "publish": "dataset",
}
STAGE_OF_PARTS: dict[Step, str] = {"read": "plan", "judge": "plan", "compare": "select"}
RECIPE_STAGE: dict[Step, str] = {step: STAGE_OF_PARTS.get(step, step) for step in FOLDERS}
CHEAP_STEPS: tuple[Step, ...] = ("test_images", "compare", "select", "publish")  # done again when the recipe changes
RECORDED_VERSIONS = ("apache-beam", "pyarrow", "polars", "duckdb", "img2dataset", "torch", "open_clip_torch")


class RunError(InvalidInput):
    """A run folder that cannot be used as asked; the message says what to do."""


@dataclass(frozen=True)
class Item:
    """A piece of work of one step, as it travels through Beam."""

    name: str  # of its shard, unless the step says otherwise
    detail: Any = None  # what the driver worked out from all manifests, so that no worker has to read them


@dataclass(frozen=True)
class Manifest:
    """What one shard of one step holds. Files are named relative to the run folder."""

    step: Step
    shard: str
    digest: str  # of the recipe, up to this step's stage
    counts: dict[str, Any]  # rows in and out; the keys are the step's own
    files: dict[str, dict[str, Any]]  # name → {"bytes": int, "sha256": hex}
    scratch: list[str] = field(default_factory=list)  # files that a later step removes when it has used them
    versions: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The manifest as it lies on disk, without anything that differs between two runs on the same input."""
        return json.dumps(self.__dict__, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Run:
    """One run folder, with the recipe that it was started with (picklable: workers get it whole)."""

    folder: Path
    recipe: Recipe

    @cached_property
    def digests(self) -> dict[str, str]:
        """Recipe digest per stage."""
        return {stage: self.recipe.digest(stage) for stage in (*STAGES, "test_images")}

    def digest(self, step: Step) -> str:
        """The digest that a manifest of `step` must carry to count."""
        return self.digests[RECIPE_STAGE[step]]

    def path(self, step: Step, name: str) -> Path:
        """A file in the folder of a step."""
        return self.folder / FOLDERS[step] / name

    def ledger_path(self, step: Step, shard: str) -> Path:
        """The ledger file of one shard of a step."""
        return self.folder / "ledger" / ("plan" if step == "judge" else step) / f"{shard}.parquet"

    def manifest(self, step: Step, shard: str) -> Manifest | None:
        """The manifest of a shard that is done, else None (also when it belongs to another recipe)."""
        try:
            found = Manifest(**json.loads(self.path(step, f"{shard}.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        return found if found.digest == self.digest(step) else None

    def manifests(self, step: Step) -> list[Manifest]:
        """All manifests of a step that count, in shard order."""
        names = sorted(path.stem for path in self.path(step, "").glob("[0-9]*.json"))
        return [found for name in names if (found := self.manifest(step, name))]

    def done(self, step: Step) -> set[str]:
        """Names of a step's shards whose manifest exists (stale ones are removed before a step starts)."""
        return {path.stem for path in self.path(step, "").glob("[0-9]*.json")}

    def times(self, step: Step) -> list[dict[str, Any]]:
        """When and where each shard of a step was done, as noted at its commit: shard, began, ended (Unix seconds), host.

        Kept beside the manifests, which hold nothing that differs between two runs on the same input. Only for people: a
        line that a crash cut off is skipped, and a shard may have several lines, of which the last counts.
        """
        try:
            lines = self.times_path(step).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def times_path(self, step: Step) -> Path:
        """The file that `times` reads."""
        return self.folder / "times" / f"{step}.jsonl"

    @contextmanager
    def attempt(self, step: Step, shard: str) -> Iterator[Attempt]:
        """A private folder to write a shard's files in; it is removed at the end, committed or not."""
        folder = self.folder / ".attempts" / f"{step}-{shard}-{uuid.uuid4().hex[:12]}"
        folder.mkdir(parents=True)
        try:
            yield Attempt(self, step, shard, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def discard(self, step: Step, keep_digest: str | None = None, shards: Container[str] | None = None) -> int:
        """Removes a step's manifests (of `shards`, or all) and the files they name, unless they carry `keep_digest`; returns
        how many."""
        count = 0
        for path in self.path(step, "").glob("[0-9]*.json"):
            if shards is not None and path.stem not in shards:
                continue
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["digest"] != keep_digest:
                path.unlink()  # first: without its manifest the shard no longer exists
                for name in [*content["files"], *content["scratch"]]:
                    (self.folder / name).unlink(missing_ok=True)
                count += 1
        return count


@dataclass(frozen=True)
class Attempt:
    """One try at one shard: files are written in `folder`, then committed all together."""

    run: Run
    step: Step
    shard: str
    folder: Path
    began: float = field(default_factory=time.time)  # Unix seconds

    def commit(
        self, files: Mapping[Path, Path], counts: Mapping[str, Any], scratch: Mapping[Path, Path] | None = None
    ) -> bool:
        """Moves files (written path → final path) into place and writes the manifest, last.

        Two attempts at a shard are told apart by a lock that dies with its holder: the second finds the manifest and
        leaves everything as it is.

        Returns:
            True where this attempt won.
        """
        described = {self._name(final): _describe(written) for written, final in files.items()}
        with locked(self.run.folder / ".locks" / self.step):
            if self.run.manifest(self.step, self.shard):
                return False
            for written, final in {**files, **(scratch or {})}.items():
                _move(written, final)
            manifest = Manifest(
                step=self.step,
                shard=self.shard,
                digest=self.run.digest(self.step),
                counts=dict(counts),
                files=described,
                scratch=[self._name(final) for final in (scratch or {}).values()],
                versions=recorded_versions(),
            )
            write_atomically(self.run.path(self.step, f"{self.shard}.json"), manifest.to_json())
            self._note_time()
        return True

    def _note_time(self) -> None:
        path = self.run.times_path(self.step)
        path.parent.mkdir(exist_ok=True)
        line = {"shard": self.shard, "began": self.began, "ended": time.time(), "host": platform.node()}
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(line))  # the line feed first: a line that was cut off spoils no other

    def _name(self, path: Path) -> str:
        return path.relative_to(self.run.folder).as_posix()


def open_run(folder: str | Path, recipe: Recipe) -> tuple[Run, list[str]]:
    """Starts a run, or continues one; later stages whose rules changed are emptied so that they run again.

    Returns:
        the run, and lines that say what changed in the recipe (empty for a new or an unchanged run).

    Raises:
        RunError: the recipe differs from the run's in what was planned, downloaded or scored.
    """
    run = Run(Path(folder).absolute(), recipe)
    path = run.folder / "recipe.yaml"
    if not path.exists():
        if run.folder.exists() and any(run.folder.iterdir()):
            raise RunError(
                f"{run.folder} is not empty and not a run folder (it has no recipe.yaml); name another folder"
            )
        (run.folder / ".locks").mkdir(parents=True)
        write_atomically(path, _recipe_file(recipe))
        return run, []
    old = read_run(folder).recipe
    changed = [stage for stage in STAGES if old.stage_inputs(stage) != recipe.stage_inputs(stage)]
    lines = list(differences(old.canonical(), recipe.canonical()))
    if changed and _holds_costly_work(run, changed[0]):
        listed = "\n".join(f"  {line}" for line in lines)
        raise RunError(
            f"{run.folder} was started with another recipe, and the difference reaches its {changed[0]} stage:\n{listed}\n"
            "Use the recipe it was started with, or start a new run with --run NEW_FOLDER."
        )
    if lines:
        write_atomically(path, _recipe_file(recipe))
    for step in CHEAP_STEPS:
        run.discard(step, keep_digest=run.digest(step))
    return run, lines


def _holds_costly_work(run: Run, changed: str) -> bool:
    """Whether a run has shards of the changed stage, or a later one up to score, that took long to make."""
    costly = [step for step in FOLDERS if step not in CHEAP_STEPS]
    return any(run.done(step) for step in costly if changed in STAGES[: STAGES.index(RECIPE_STAGE[step]) + 1])


def read_run(folder: str | Path) -> Run:
    """An existing run, with its own recipe.

    Raises:
        RunError: there is no run in this folder.
    """
    path = Path(folder).absolute()
    try:
        return Run(path, Recipe.model_validate(yaml.safe_load((path / "recipe.yaml").read_text(encoding="utf-8"))))
    except FileNotFoundError:
        raise RunError(
            f"{path} is not a run folder: it has no recipe.yaml; `zhclip curate RECIPE --run {path}` starts one"
        ) from None


@lru_cache(maxsize=1)
def recorded_versions() -> dict[str, str]:
    """Versions of those packages that decide what a shard holds and are installed: a download worker has no torch."""
    versions = {"zhclip": __version__}
    for name in RECORDED_VERSIONS:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def write_atomically(path: Path, text: str) -> None:
    """Writes a small file so that a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _recipe_file(recipe: Recipe) -> str:
    digests = "".join(f"#   {stage}: {recipe.digest(stage)}\n" for stage in STAGES if recipe.stage_inputs(stage))
    return f"# The recipe as this run uses it, every default written out. Digests per stage:\n{digests}{dump_recipe(recipe)}"


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def _move(written: Path, final: Path) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    written.replace(final)
    _sync_folder(final.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
