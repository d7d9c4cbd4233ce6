"""What the driver of a run looks after before work begins: what no manifest names goes, and what a manifest lacks is made again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from foundation.log import logger
from foundation.storage import SCRATCH, WRITING, Disk, Entry
from foundation.text import counted
from pipeline.run.folder import Run
from pipeline.run.manifest import Manifest
from pipeline.run.names import KEPT, LAYOUT_FILE
from pipeline.stages.base import Stage
from pipeline.stages.download.resume import Kept
from pipeline.stages.registry import STAGES, enabled

OF_A_SHARD = re.compile(r"[0-9]{6,}-[0-9a-f]+(\.[a-z0-9_]+)+")  # as `Attempt.commit` names files
log = logger("housekeeping")


@dataclass(frozen=True)
class Garbage:
    """What a run holds to no use."""

    files: list[Entry]  # that no manifest names
    attempts: list[Entry]  # on a disk: of attempts that were not committed
    stale: list[Manifest]  # of another recipe, of stages that are done again where it changes: they go with their files
    broken: dict[str, Manifest]  # a file that is gone → the manifest that names it: without it the shard is made again

    @property
    def names(self) -> list[str]:
        """The files that go, manifests aside."""
        stale = [name for manifest in self.stale for name in [*manifest.files, *manifest.scratch]]
        return sorted([*(entry.name for entry in [*self.files, *self.attempts]), *stale])

    @property
    def bytes(self) -> int:
        """How many these have, as far as a listing or a manifest says."""
        stale = sum(described["bytes"] for manifest in self.stale for described in manifest.files.values())
        return sum(entry.bytes for entry in [*self.files, *self.attempts]) + stale

    @property
    def again(self) -> dict[str, list[str]]:
        """Stage → shards that `zhclip curate` makes again, of stages that have any."""
        shards: dict[str, list[str]] = {}
        for manifest in [*self.stale, *self.broken.values()]:
            shards.setdefault(manifest.stage, []).append(manifest.shard)
        return {stage: sorted(set(of)) for stage, of in shards.items()}


def find_garbage(run: Run) -> Garbage:
    """What killed processes left, and the manifests of shards that lack a file which is still needed. Nothing is changed.

    While a driver works on the run, files that its workers are about to commit are among those that no manifest names. Files of
    other names, whoever put them there, are not. A manifest lacks files where a worker was given up at the very moment of its
    commit, or where somebody cleaned up; while all stages are complete nothing is made again.
    """
    needed = _before_the_first_pending(run)
    with_scratch = bool(needed) and "plan" not in needed
    needed.add("publish")  # whoever deletes what is published wants it anew
    garbage = Garbage([], list(run.storage.list(f"{SCRATCH}/")), [], {})
    for stage in STAGES.values():
        manifests = run.all_manifests(stage.name)
        entries = [
            entry for folder in sorted(run.stages[stage.name].folders) for entry in run.storage.list(f"{folder}/")
        ]
        counting = [it for it in manifests if not stage.cheap or it.digest == run.digest(stage.name)]
        garbage.stale.extend(it for it in manifests if stage.cheap and it.digest != run.digest(stage.name))
        if stage.name in needed:
            garbage.broken.update(_incomplete(run, counting, entries, with_scratch))
        garbage.files.extend(_unnamed(run, stage, manifests, entries))
    return garbage


def tidy(run: Run) -> Garbage:
    """Remove the garbage of a run; only its driver may, while no worker of its own is at work: what those of an earlier driver
    still have in hand cannot be committed.

    Raises:
        Superseded: another process drives the run by now; what its workers are about to commit stays.
    """
    garbage = find_garbage(run)
    run.check_lease()
    if isinstance(run.storage, Disk):
        shutil.rmtree(run.storage.scratch(), ignore_errors=True)
    for stage in {manifest.stage: None for manifest in garbage.stale}:
        run.discard(stage, keep_digest=run.digest(stage))
    for name, manifest in garbage.broken.items():
        log.warning("%s is gone or incomplete: shard %s of %s is made again", name, manifest.shard, manifest.stage)
        run.forget(manifest)
    for entry in garbage.files:
        run.storage.remove(entry.name)
    if garbage.files:
        total = sum(entry.bytes for entry in garbage.files)
        log.info("removed %s (%s bytes) that no manifest names", counted(len(garbage.files), "file"), f"{total:,}")
    return garbage


def _before_the_first_pending(run: Run) -> set[str]:
    """Names of complete stages that an incomplete one may read."""
    names: set[str] = set()
    if not run.holds(LAYOUT_FILE):
        return names
    for stage in enabled(run.recipe):
        if stage.pending(run):
            return names
        names.add(stage.name)
    return set()


def _unnamed(run: Run, stage: Stage, manifests: list[Manifest], entries: list[Entry]) -> list[Entry]:
    named = {name for manifest in manifests for name in [*manifest.files, *manifest.scratch]}
    for entry in entries:
        if f"/{KEPT}/" in entry.name and entry.name.endswith(".json"):
            named.update(Kept(**json.loads(run.storage.read(entry.name))).files)
    own = (f"{run.stages[stage.name].folder}/", f"{run.stages[stage.name].ledger}/")
    return [entry for entry in entries if entry.name.startswith(own) and entry.name not in named and _is_ours(entry)]


def _is_ours(entry: Entry) -> bool:
    last = entry.name.rpartition("/")[2]
    return bool(OF_A_SHARD.fullmatch(last)) or last.startswith(WRITING)


def _incomplete(
    run: Run, manifests: list[Manifest], entries: list[Entry], with_scratch: bool
) -> Iterator[tuple[str, Manifest]]:
    """Of each manifest that lacks files, the first one, and the manifest."""
    sizes = {entry.name: entry.bytes for entry in entries}
    for manifest in manifests:
        lacking = [name for name, described in manifest.files.items() if sizes.get(name) != described["bytes"]]
        if run.stages[manifest.stage].published and sizes.keys() >= set(manifest.scratch):
            lacking = []  # not handed on yet
        elif with_scratch:
            lacking += [name for name in manifest.scratch if name not in sizes]
        if lacking:
            yield lacking[0], manifest
