"""What all checks of one run share: the manifests that can be read, and the files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from pipeline.inspect.verify.reading import RunFiles, ending_of, file_of
from pipeline.run.folder import Run
from pipeline.run.manifest import Manifest
from pipeline.run.names import LEDGER
from pipeline.stages.layout import Layout, read_layout
from pipeline.stages.publish.stage import Piece, shards_of_pieces
from pipeline.stages.registry import LEDGER_STAGES

SHOWN = 3  # keys or values that a problem names


@dataclass(frozen=True)
class LoadedRun(Run):
    """A run as its sound manifests tell it, read once; damaged and stale ones are not there."""

    loaded: Mapping[str, Mapping[str, Manifest]] = field(default_factory=dict)  # stage → shard → manifest

    def manifest(self, stage: str, shard: str) -> Manifest | None:
        """The manifest of a shard; None where there is none that counts."""
        return self.loaded.get(stage, {}).get(shard)

    def manifests(self, stage: str) -> list[Manifest]:
        """All of a stage, in shard order."""
        return list(self.loaded.get(stage, {}).values())

    def done(self, stage: str) -> set[str]:
        """Shards of a stage that have one."""
        return set(self.loaded.get(stage, {}))


@dataclass(frozen=True)
class Context:
    """One run under proof."""

    run: LoadedRun
    files: RunFiles
    indexes: Mapping[str, Sequence[str]] = field(
        default_factory=dict
    )  # plan shard → indexes that its pairs are published in
    layout: Layout | None = None  # None: damaged, or not there
    sampled: frozenset[tuple[str, str]] | None = None  # (stage, shard) whose tars are read; None: all

    def reads_tar(self, stage: str, shard: str) -> bool:
        """Whether the tar of a shard is among those that are read."""
        return self.sampled is None or (stage, shard) in self.sampled

    @staticmethod
    def of(run: Run) -> Context:
        """Of a complete run whose manifests and layout are sound."""
        loaded = {stage: {manifest.shard: manifest for manifest in run.manifests(stage)} for stage in run.stages}
        known = LoadedRun(run.storage, run.recipe, run.stages, loaded=loaded)
        indexes = indexes_of_plan_shards(known, shards_of_pieces(known))
        return Context(known, RunFiles(run), indexes, read_layout(known))

    def indexes_of(self, plan_shard: str) -> Sequence[str]:
        """Names of the published indexes that hold pairs of a plan shard, where that can be told."""
        return self.indexes.get(plan_shard, ())

    def name_of(self, manifest: Manifest) -> str:
        """The name of a manifest's own file, for messages."""
        return self.run.manifest_name(manifest.stage, manifest.shard)


def indexes_of_plan_shards(run: Run, pieces: Mapping[str, Sequence[Piece]]) -> dict[str, list[str]]:
    """Plan shard → names of the indexes that its pairs are published in.

    Args:
        pieces: published shard → the pieces of plan shards that it is made of.
    """
    indexes: dict[str, list[str]] = {}
    for shard, of_shard in pieces.items():
        manifest = run.manifest("publish", shard)
        name = file_of(run, manifest, ".parquet") if manifest else None
        for plan_shard, _, _ in of_shard:
            if name is not None:
                indexes.setdefault(plan_shard, []).append(name)
    return indexes


class Opened:
    """The files of some manifests, each read once: hashed, and opened where it is a table."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.problems: list[str] = []

    def tables(self, manifest: Manifest) -> dict[str, pa.Table]:
        """Ending → table (`ledger` for the ledger), of those that are sound; every file but tars is hashed."""
        tables: dict[str, pa.Table] = {}
        for name in manifest.files:
            if not name.endswith(".tar"):
                table = self._table(manifest, name)
                ending = ending_of(self.context.run, manifest, name)
                if table is not None and ending is not None:
                    tables[ending] = table
        return tables

    def sound_size(self, manifest: Manifest, name: str) -> bool:
        """Whether a file is there and as long as its manifest says."""
        size, stated = self.context.files.size(name), manifest.files[name]["bytes"]
        if size is None:
            self.problems.append(f"{name}: the file is missing; {self.context.name_of(manifest)} names it")
        elif size != stated:
            self.problems.append(f"{name}: {size:,} bytes instead of {stated:,}")
        return size == stated

    def compare_hash(self, manifest: Manifest, name: str, digest: str) -> bool:
        """Whether a file's SHA-256 is the one that its manifest states."""
        if digest == manifest.files[name]["sha256"]:
            return True
        self.problems.append(f"{name}: damaged: its SHA-256 is not the manifest's")
        return False

    def hash_file(self, manifest: Manifest, name: str) -> None:
        """Hash a file piece by piece."""
        if self.sound_size(manifest, name):
            digest = hashlib.sha256()
            for piece in self.context.files.chunks(name):
                digest.update(piece)
            self.compare_hash(manifest, name, digest.hexdigest())

    def _table(self, manifest: Manifest, name: str) -> pa.Table | None:
        self.hash_file(manifest, name)
        if self.problems and self.problems[-1].startswith(f"{name}: "):
            return None
        return self.read(name)

    def read(self, name: str) -> pa.Table | None:
        """A table; None, and a problem, where it cannot be read."""
        try:
            return self.context.files.table(name)
        except Exception as error:  # whatever a damaged file makes a reader raise
            self.problems.append(f"{name}: cannot be read as a table: {short(error)}")
            return None


def table_of(context: Context, manifest: Manifest, ending: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A table, or some columns, that another check has hashed.

    Raises:
        KeyError: the manifest names none.
    """
    name = file_of(context.run, manifest, ending)
    if name is None:
        raise KeyError(f"{context.name_of(manifest)} names no {ending}")
    return context.files.table(name, columns)


def short(error: BaseException) -> str:
    """An exception in a line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"


def listed(values: Sequence[str], say: Callable[[str], str]) -> Iterator[str]:
    """A problem that names the first of many values; none where there are no values."""
    if values:
        more = f" and {len(values) - SHOWN:,} more" if len(values) > SHOWN else ""
        yield say(", ".join(map(str, values[:SHOWN])) + more)


def first_difference(keys: pa.ChunkedArray, left: pa.ChunkedArray, right: pa.ChunkedArray) -> str | None:
    """The key of the first row in which two columns of equal length differ; None where they are equal."""
    if left.equals(right):
        return None
    rows = zip(keys.to_pylist(), left.to_pylist(), right.to_pylist(), strict=True)
    return next((key for key, a, b in rows if a != b and not (a != a and b != b)), None)


def ledger_keys(context: Context, shard: str, stages: Iterable[str]) -> Iterator[pa.Array]:
    """Keys that stages lost of a plan shard.

    Raises:
        KeyError: a manifest names no ledger.
    """
    for stage in stages:
        manifest = context.run.manifest(stage, shard)
        if manifest is not None and stage in LEDGER_STAGES:
            yield table_of(context, manifest, LEDGER, ["key"])["key"].combine_chunks()
