"""What the driver of a run looks after before work begins: what no manifest names goes, and what a manifest lacks is made again."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass

from foundation.log import logger
from foundation.storage import Disk, Entry
from foundation.text import counted
from pipeline.run.folder import Run
from pipeline.run.manifest import Manifest
from pipeline.run.names import KEPT, LAYOUT_FILE
from pipeline.stages.base import Stage
from pipeline.stages.download.resume import Kept
from pipeline.stages.registry import STAGES, enabled

OF_A_SHARD = re.compile(r"[0-9]{6,}-[0-9a-f]+(\.[a-z0-9_]+)+")  # as `Attempt.commit` names files
UNFINISHED = re.compile(r"\.writing-[0-9a-f]+")  # as a disk names files that are being written
log = logger("housekeeping")


@dataclass(frozen=True)
class Tidied:
    """What was found at the start of a driver and put in order."""

    files: int  # that no manifest named, removed
    bytes: int
    shards: int  # whose files were gone, to be made again


def tidy(run: Run) -> Tidied:
    """Remove what killed processes left, and the manifests of shards that lack a file which is still needed.

    Only the driver of the run may, at its start: what an earlier driver's workers still have in hand cannot be committed. Files
    of other names, whoever put them there, are left alone. A manifest lacks files where a worker was given up at the very moment
    of its commit, or where somebody cleaned up; while all stages are complete nothing is made again.
    """
    if isinstance(run.storage, Disk):
        shutil.rmtree(run.storage.scratch(), ignore_errors=True)
    needed = _before_the_first_pending(run)
    with_scratch = bool(needed) and "plan" not in needed
    needed.add("publish")  # whoever deletes what is published wants it anew
    files = total = shards = 0
    for stage in STAGES.values():
        if stage.cheap:
            run.discard(stage.name, keep_digest=run.digest(stage.name))
        manifests = run.all_manifests(stage.name)
        entries = [
            entry for folder in sorted(run.stages[stage.name].folders) for entry in run.storage.list(f"{folder}/")
        ]
        if stage.name in needed:
            shards += _drop_incomplete(run, manifests, entries, with_scratch)
        for entry in _unnamed(run, stage, manifests, entries):
            run.storage.remove(entry.name)
            files, total = files + 1, total + entry.bytes
    if files:
        log.info("removed %s (%s bytes) that no manifest names", counted(files, "file"), f"{total:,}")
    return Tidied(files, total, shards)


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
    return bool(OF_A_SHARD.fullmatch(last) or UNFINISHED.fullmatch(last))


def _drop_incomplete(run: Run, manifests: list[Manifest], entries: list[Entry], with_scratch: bool) -> int:
    sizes = {entry.name: entry.bytes for entry in entries}
    count = 0
    for manifest in manifests:
        lacking = [name for name, described in manifest.files.items() if sizes.get(name) != described["bytes"]]
        if run.stages[manifest.stage].published and sizes.keys() >= set(manifest.scratch):
            lacking = []  # not handed on yet
        elif with_scratch:
            lacking += [name for name in manifest.scratch if name not in sizes]
        if lacking:
            log.warning(
                "%s is gone or incomplete: shard %s of %s is made again", lacking[0], manifest.shard, manifest.stage
            )
            run.forget(manifest)
            count += 1
    return count
