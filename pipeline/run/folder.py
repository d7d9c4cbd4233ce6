"""A run, in a folder or an object store: what is done, and how its files are read.

A shard is done when its manifest stands and carries the digest of the recipe as it is now. The manifest is written last and
names the shard's files, whose own names no other content can have; so a process killed at any moment leaves either a finished
shard or nothing that a reader would look at.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Container, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from foundation.storage import Disk, Entry, Storage
from pipeline.recipe import Recipe
from pipeline.run import lease
from pipeline.run.manifest import Manifest, RunError, parse_manifest
from pipeline.run.names import DATASET_MANIFEST, LEDGER, TIMES
from pipeline.run.ranges import read_ranges

READERS = 16  # manifests read at a time from an object store
CACHED = 50_000  # manifests that a process remembers


@dataclass(frozen=True)
class Item:
    """A piece of work of one stage, as it travels through Beam."""

    name: str  # of its shard, unless the stage says otherwise
    detail: Any = None  # what the driver worked out from all manifests, so that no worker has to read them


@dataclass(frozen=True)
class StageLayout:
    """Where a stage of one run keeps its files, and what its manifests must say."""

    name: str
    folder: str  # relative to the run
    digest: str  # of the recipe, up to this stage
    per_plan_shard: bool  # whether its shards, and those of its ledger, are the plan's
    published: str = ""  # folder that its files are handed on in under plain names; "" where they stay where they are

    @property
    def ledger(self) -> str:
        """The folder of its ledger."""
        return f"{LEDGER}/{self.name}"

    @property
    def folders(self) -> frozenset[str]:
        """All that its files may lie in."""
        return frozenset({self.folder, self.ledger, *([self.published] if self.published else [])})


@dataclass(frozen=True)
class Run:
    """One run, with the recipe that it was started with (picklable: workers receive it as it is).

    `read_run` opens one where it lies, `open_run` and `curate` start or continue one: all three are names of `pipeline`.
    """

    storage: Storage
    recipe: Recipe
    stages: Mapping[str, StageLayout]  # all of them, in order, also those that this recipe does not need
    epoch: int | None = None  # of the lease under which work on it is done

    def __new__(cls, *values: Any, **named: Any) -> Self:
        """As of any class, but a folder alone is refused; unpickling gives no values at all.

        Raises:
            RunError: what to call instead.
        """
        if len(values) + len(named) == 1:
            raise RunError("a folder alone makes no Run: open it with `pipeline.read_run(folder)`")
        return super().__new__(cls)

    @property
    def address(self) -> str:
        """The folder or url of the run."""
        return self.storage.address

    @property
    def name(self) -> str:
        """The last part of its address."""
        return self.address.rpartition("/")[2]

    @property
    def folder(self) -> Path:
        """The folder of a run on disk.

        Raises:
            RunError: it lies elsewhere.
        """
        if not isinstance(self.storage, Disk):
            raise RunError(f"{self.address}: this needs a run in a folder; copy it to a disk first")
        return self.storage.folder

    def digest(self, stage: str) -> str:
        """The digest that a manifest of `stage` must carry to count."""
        return self.stages[stage].digest

    def between(self, first: str, last: str) -> list[str]:
        """Stages after `first` and before `last` that work on plan shards one by one."""
        names = list(self.stages)
        inner = names[names.index(first) + 1 : names.index(last)]
        return [name for name in inner if self.stages[name].per_plan_shard]

    # What is done

    def manifest_name(self, stage: str, shard: str) -> str:
        """The name of the manifest of a shard."""
        return f"{self.stages[stage].folder}/{shard}.json"

    def manifest(self, stage: str, shard: str) -> Manifest | None:
        """The manifest of a shard that is done, else None (also when it belongs to another recipe).

        Raises:
            RunError: it is damaged.
        """
        try:
            manifest = self._parse(stage, self.manifest_name(stage, shard))
        except FileNotFoundError:
            return None
        return manifest if manifest.digest == self.digest(stage) else None

    def manifests(self, stage: str) -> list[Manifest]:
        """All manifests of a stage that count, in shard order.

        Raises:
            RunError: one is damaged.
        """
        return [manifest for manifest in self.all_manifests(stage) if manifest.digest == self.digest(stage)]

    def all_manifests(self, stage: str) -> list[Manifest]:
        """As `manifests`, with those of other recipes."""
        entries = list(self.manifest_entries(stage).values())
        if isinstance(self.storage, Disk) or len(entries) < READERS:
            return [manifest for entry in entries if (manifest := self._read(stage, entry))]
        with ThreadPoolExecutor(READERS) as pool:
            return [manifest for manifest in pool.map(lambda entry: self._read(stage, entry), entries) if manifest]

    def is_readable(self, stage: str) -> bool:
        """Whether the files of a stage stand under the names that its manifests give: published ones do once all are there."""
        published = self.stages[stage].published
        return not published or self.holds(f"{published}/{DATASET_MANIFEST}")

    def manifest_entries(self, stage: str) -> dict[str, Entry]:
        """Shard → its manifest in the listing of a stage, in shard order, whether it counts or not."""
        prefix = f"{self.stages[stage].folder}/"
        listed = {entry.name[len(prefix) :]: entry for entry in self.storage.list(prefix)}
        return {name.removesuffix(".json"): entry for name, entry in listed.items() if _is_manifest(name)}

    def done(self, stage: str) -> set[str]:
        """Names of a stage's shards that are done."""
        return {manifest.shard for manifest in self.manifests(stage)}

    def holds(self, name: str) -> bool:
        """Whether the run has a file of this name, such as layout.json."""
        try:
            self.storage.read(name, 0, 1)
        except FileNotFoundError:
            return False
        return True

    # How files are read

    def file(self, stage: str, shard: str, ending: str = ".parquet") -> str:
        """The name of a file of a shard.

        Raises:
            RunError: the shard is not done, or has no such file.
        """
        return self._done(stage, shard).file(ending)

    def table(self, stage: str, shard: str, ending: str = ".parquet", **options: Any) -> pa.Table:
        """A Parquet file of a shard; `options` are those of `pyarrow.parquet.read_table`.

        Raises:
            RunError: the shard is not done, or the file is not as its manifest says.
        """
        with self.open(stage, shard, ending) as file:
            return pq.read_table(file, **options)

    def ledger(self, stage: str, shard: str, **options: Any) -> pa.Table:
        """The ledger of a shard, as `table`."""
        manifest = self._done(stage, shard)
        if manifest.ledger is None:
            raise RunError(f"{self.manifest_name(stage, shard)} names no ledger; run `zhclip verify {self.address}`")
        with self._open(manifest, manifest.ledger) as file:
            return pq.read_table(file, **options)

    def open(self, stage: str, shard: str, ending: str = ".parquet") -> pa.NativeFile:
        """A file of a shard, to be read at random. Raises RunError as `table`."""
        manifest = self._done(stage, shard)
        return self._open(manifest, manifest.file(ending))

    def open_scratch(self, stage: str, shard: str, ending: str) -> pa.NativeFile:
        """As `open`, of a file that a later stage removes."""
        name = self._done(stage, shard).scratch_file(ending)
        try:
            return self.storage.open(name)
        except FileNotFoundError:
            raise RunError(_unlike(self, name, "it is gone")) from None

    def ranges(
        self, stage: str, shard: str, ending: str, offsets: Iterable[int], lengths: Iterable[int]
    ) -> Iterator[bytes]:
        """Ranges of bytes of a file of a shard, in their order; ascending ones are read some megabytes at a time."""
        name = self._done(stage, shard).file(ending)
        return read_ranges(self.storage, name, offsets, lengths)

    # How work is done

    def check_lease(self) -> None:
        """Raises Superseded where another process drives this run by now."""
        if self.epoch is not None:
            lease.check(self.storage, self.epoch)

    def discard(self, stage: str, keep_digest: str | None = None, shards: Container[str] | None = None) -> int:
        """Removes a stage's manifests (of `shards`, or all) and the files they name, unless they carry `keep_digest`;
        returns how many."""
        wanted = [
            manifest
            for manifest in self.all_manifests(stage)
            if (shards is None or manifest.shard in shards) and manifest.digest != keep_digest
        ]
        published = self.stages[stage].published
        if wanted:
            self.check_lease()
        if wanted and published:
            self.storage.remove(f"{published}/{DATASET_MANIFEST}")  # first: what is published is whole or not there
        for manifest in wanted:
            self.forget(manifest)
            described = [f"{published}/{manifest.shard}.json"] if published else []
            for name in [*manifest.files, *manifest.scratch, *described]:
                self.storage.remove(name)
        return len(wanted)

    def forget(self, manifest: Manifest) -> None:
        """Removes a manifest: its shard is not done any more. Its files stay."""
        self.storage.remove(self.manifest_name(manifest.stage, manifest.shard))

    def times(self, stage: str) -> list[dict[str, Any]]:
        """When and where each shard of a stage was done, as noted at its commit: shard, began, ended (Unix seconds), host.

        Kept in names beside the manifests, which hold nothing that differs between two runs on the same input. Only for people.
        """
        noted = []
        for entry in self.storage.list(f"{TIMES}/{stage}/"):
            shard, _, rest = entry.name.rpartition("/")[2].partition("~")
            began, ended, host = (*rest.split("~", 2), "", "")[:3]
            try:
                noted.append({"shard": shard, "began": float(began), "ended": float(ended), "host": host})
            except ValueError:
                continue  # not one of ours
        return sorted(noted, key=lambda line: (line["shard"], line["ended"]))

    def note_time(self, stage: str, shard: str, began: float, ended: float, host: str) -> None:
        """Note what `times` reads."""
        name = "-".join(host.replace("~", "/").split("/"))
        self.storage.put(f"{TIMES}/{stage}/{shard}~{began:.3f}~{ended:.3f}~{name}", b"", durable=False)

    def _done(self, stage: str, shard: str) -> Manifest:
        manifest = self.manifest(stage, shard)
        if manifest is None:
            raise RunError(
                f"{self.address}: shard {shard} of the {stage} stage is not done; `zhclip curate` continues the run"
            )
        return manifest

    def _open(self, manifest: Manifest, name: str) -> pa.NativeFile:
        try:
            file = self.storage.open(name)
        except FileNotFoundError:
            raise RunError(_unlike(self, name, "it is gone")) from None
        stated = manifest.files[name]["bytes"]
        if file.size() != stated:
            raise RunError(_unlike(self, name, f"it has {file.size():,} bytes, its manifest says {stated:,}"))
        return file

    def _read(self, stage: str, entry: Entry) -> Manifest | None:
        key = (self.address, entry.name, entry.version)
        manifest = _CACHE.get(key)
        if manifest is None:
            try:
                manifest = _CACHE[key] = self._parse(stage, entry.name)
            except FileNotFoundError:  # removed since it was listed
                return None
        return manifest

    def _parse(self, stage: str, name: str) -> Manifest:
        return parse_manifest(self.storage.read(name), self.address, name, self.stages[stage].folders)


class _Cache:
    """Manifests by address, name and version; the least recently read go first."""

    def __init__(self) -> None:
        self._manifests: OrderedDict[tuple[str, str, str], Manifest] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str, str]) -> Manifest | None:
        with self._lock:
            if key in self._manifests:
                self._manifests.move_to_end(key)
            return self._manifests.get(key)

    def __setitem__(self, key: tuple[str, str, str], manifest: Manifest) -> None:
        with self._lock:
            self._manifests[key] = manifest
            if len(self._manifests) > CACHED:
                self._manifests.popitem(last=False)


_CACHE = _Cache()


def _is_manifest(name: str) -> bool:
    return name.endswith(".json") and name[0].isdigit() and "/" not in name


def _unlike(run: Run, name: str, what: str) -> str:
    return f"{run.address}/{name} is not as its manifest says: {what}; `zhclip verify {run.address}` names every fault"
