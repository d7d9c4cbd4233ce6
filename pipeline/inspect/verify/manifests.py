"""The manifests of a run, read once and strictly: form, names confined to the run, and counts that add up in themselves."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pipeline.inspect.verify.context import listed, short
from pipeline.inspect.verify.reading import RunFiles, ending_of
from pipeline.run.folder import Run
from pipeline.run.manifest import Manifest, damaged_manifest
from pipeline.run.names import DATASET_MANIFEST, LEDGER
from pipeline.stages.base import Stage
from pipeline.stages.registry import LEDGER_STAGES, STAGES

MEND_STALE = "put recipe.yaml back, or run `zhclip curate`, which says what changed"
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass
class Manifests:
    """What there is: sound manifests by stage and shard, the names of all, and what is wrong with them."""

    loaded: dict[str, dict[str, Manifest]] = field(default_factory=dict)
    names: dict[str, dict[str, str]] = field(default_factory=dict)  # stage → shard → name, damaged and stale ones too
    staged: set[str] = field(default_factory=set)  # stages whose files are not handed on yet: none of them counts
    problems: list[str] = field(default_factory=list)


def load(run: Run, files: RunFiles, digests: bool = True) -> Manifests:
    """All manifests of all stages, in the order of the flow.

    Args:
        digests: whether the recipe is known, and with it the digest that each must carry.
    """
    manifests = Manifests()
    for stage in STAGES:
        stale: list[str] = []
        manifests.names[stage], manifests.loaded[stage] = files.manifest_names(stage), {}
        for shard, name in manifests.names[stage].items():
            try:
                manifest = Manifest.from_json(files.bytes_of(name).decode("utf-8"))
            except Exception as error:  # whatever a damaged file makes a parser raise
                manifests.problems.append(damaged_manifest(name, _reason(error)))
                continue
            faults = list(_identity(run, manifest, name, stage, shard))
            if not faults and digests and manifest.digest != run.digest(stage):
                stale.append(name)
            elif not faults:
                manifests.loaded[stage][shard] = manifest
                faults = [*_named_files(run, manifest, name), *(_sums(run, manifest, name) if digests else ())]
            manifests.problems += faults
        manifests.problems += listed(
            stale, lambda shown: f"{shown}: made with another recipe than recipe.yaml; {MEND_STALE}"
        )
        if _is_staged(run, files, stage, manifests.loaded[stage].values()):
            manifests.staged.add(stage)
            manifests.loaded[stage] = {}
    return manifests


def _is_staged(run: Run, files: RunFiles, stage: str, manifests: Iterable[Manifest]) -> bool:
    """Whether the files of a stage that publishes still wait to be handed on: it is at work, or was killed."""
    published = run.stages[stage].published
    if not published or files.size(f"{published}/{DATASET_MANIFEST}") is not None:
        return False
    return any(files.size(name) is not None for manifest in manifests for name in manifest.scratch)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) else short(error)


def _identity(run: Run, manifest: Manifest, name: str, stage: str, shard: str) -> Iterator[str]:
    """Whether a manifest is the one of this shard, and may be followed to its files."""
    if (manifest.stage, manifest.shard) != (stage, shard):
        yield f"{name}: says that it is of {manifest.stage}/{manifest.shard}; it lies where {stage}/{shard} is expected"
    elif not {"in", "out"} <= set(manifest.counts):
        yield f"{name}: does not count rows in and out"
    for file in (*manifest.files, *manifest.scratch):
        if not confined(run, stage, file):
            yield (
                f"{name}: names {file!r}, which is no file of this shard: expected a name in "
                f"{run.stages[stage].folder}/ or {LEDGER}/{stage}/; nothing is read there"
            )


def confined(run: Run, stage: str, name: str) -> bool:
    """Whether a name is relative, without `..`, and in the folder of a stage or of its ledger."""
    path = PurePosixPath(name)
    plain = not path.is_absolute() and ".." not in path.parts and path.as_posix() == name and "\0" not in name
    return plain and path.parent.as_posix() in run.stages[stage].folders


def _named_files(run: Run, manifest: Manifest, name: str) -> Iterator[str]:
    stage = STAGES[manifest.stage]
    endings = [ending_of(run, manifest, file) for file in manifest.files]
    for file, ending in zip(manifest.files, endings, strict=True):
        if ending is None or (stage.endings and ending not in (*stage.endings, LEDGER)):
            yield f"{name}: names {file}, which is no file of shard {manifest.shard} of this stage"
        described = manifest.files[file]
        if described["bytes"] < 0 or not SHA256.fullmatch(str(described["sha256"])):
            yield f"{name}: what it says of {file} is no size and SHA-256"
    for ending in _endings(stage):
        if endings.count(ending) != 1:
            said = "does not name" if ending not in endings else "names more than one of"
            shown = f"{LEDGER}/{stage.name}/{manifest.shard}" if ending == LEDGER else f"{manifest.shard}{ending}"
            yield f"{name}: {said} {shown}, which every shard of this stage has"
    if not manifest.versions or not all(isinstance(text, str) for text in manifest.versions.values()):
        yield f"{name}: its versions are not names of packages with their versions"


def _endings(stage: Stage) -> list[str]:
    ledger = [LEDGER] if stage.name in LEDGER_STAGES else []
    return [*dict.fromkeys([*stage.endings, *(view.ending for view in stage.views)]), *ledger]


def counts_sources(stage: Stage) -> bool:
    """Whether the manifests of a stage count rows by source."""
    return bool(stage.outcomes) or stage.per_plan_shard


def outcome_names(stage: Stage) -> list[str]:
    """The ledger outcomes of a stage: the names under which its manifests count what it lost."""
    return [outcome.ledger for outcome in stage.outcomes if outcome.ledger]


def _sums(run: Run, manifest: Manifest, name: str) -> Iterator[str]:
    """Whether the counts add up: in = lost + out for each source, and totals = sums over sources."""
    stage, counts = STAGES[manifest.stage], manifest.counts
    if not counts_sources(stage):
        return
    if "sources" not in counts:
        yield f"{name}: counts nothing by source"
        return
    lost, totals = outcome_names(stage), Counter[str]({"in": 0, "out": 0})
    for source, rows in counts["sources"].items():
        totals.update(rows)
        if source not in run.recipe.sources:
            yield f"{name}: counts rows of {source!r}, which is no source of the recipe"
        if min(rows.values()) < 0:
            yield f"{name}: {source} has a count below 0"
        if rows["in"] != rows["out"] + sum(rows.get(outcome, 0) for outcome in lost):
            shown = ", ".join(f"{rows.get(outcome, 0):,} {outcome}" for outcome in lost) or "none lost"
            yield f"{name}: {source}: {rows['in']:,} rows in, {shown} and {rows['out']:,} out do not add up"
    for total, rows_of_total in totals.items():
        if counts.get(total) != rows_of_total:
            yield f"{name}: `{total}` is {counts.get(total)}; by source it is {rows_of_total:,}"
    yield from _further_sums(counts, name)


def _further_sums(counts: dict[str, object], name: str) -> Iterator[str]:
    ranges, reasons = counts.get("ranges"), counts.get("reasons")
    if ranges is not None and (not _are_numbers(ranges) or sum(ranges) != counts["out"]):  # type: ignore[call-overload]
        yield f"{name}: `ranges` does not add up to the {counts['out']:,} rows out"
    if reasons is not None:
        values = list(reasons.values()) if isinstance(reasons, dict) else None
        if not _are_numbers(values) or sum(values) != counts.get("failed"):  # type: ignore[arg-type]
            yield f"{name}: `reasons` does not add up to the {counts.get('failed')} failed rows"


def _are_numbers(values: object) -> bool:
    return isinstance(values, list) and all(type(number) is int and number >= 0 for number in values)
