"""Which shards a run must have, which are missing, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.inspect.verify.context import Context, short
from pipeline.inspect.verify.manifests import Manifests
from pipeline.run.names import DATASET, DATASET_MANIFEST, KEPT, LAYOUT_FILE
from pipeline.stages.base import Stage
from pipeline.stages.registry import STAGES, enabled


@dataclass
class Presence:
    """Which stages are complete, and what is missing or too much."""

    complete: list[str] = field(default_factory=list)  # stages that have every shard, sound
    expected: dict[str, list[str]] = field(default_factory=dict)  # stage → shards, where that can be told
    incomplete: str = ""
    problems: list[str] = field(default_factory=list)


def look(context: Context, manifests: Manifests, layout_there: bool) -> Presence:
    """Goes through the stages in order; what later ones must have is known only where all before are complete."""
    presence, run = Presence(), context.run
    stages = enabled(run.recipe)
    if not layout_there:
        if any(manifests.names.values()):
            presence.problems.append(
                f"{LAYOUT_FILE}: missing: it says how the metadata is divided; put it back from a copy"
            )
        else:
            presence.incomplete = "nothing is planned yet"
        return presence
    for stage in stages:
        try:
            expected = list(stage.shards(run))
        except Exception as error:  # a manifest whose counts are nonsense
            presence.problems.append(f"{stage.name}: which shards it must have cannot be told: {short(error)}")
            return presence
        presence.expected[stage.name] = expected
        _compare(context, manifests, presence, stage)
        if set(expected) != set(manifests.loaded[stage.name]):
            return presence
        presence.complete.append(stage.name)
    if not dataset_there(context):
        presence.problems.append(
            f"{DATASET}/{DATASET_MANIFEST}: missing, although every shard is there; `zhclip publish` writes it"
        )
    presence.problems += [
        f"{name}: manifest of a stage that the recipe does not ask for"
        for stage in STAGES.values()
        if stage not in stages
        for name in manifests.names[stage.name].values()
    ]
    return presence


def _compare(context: Context, manifests: Manifests, presence: Presence, stage: Stage) -> None:
    expected, names = presence.expected[stage.name], manifests.names[stage.name]
    folder = context.run.stages[stage.name].folder
    missing = [shard for shard in expected if shard not in names]
    needed = [shard for shard in missing if _is_needed(context, manifests, stage, shard)]
    presence.problems += [f"{folder}/{shard}: missing shard: it has no manifest" for shard in needed]
    presence.problems += [
        f"{names[shard]}: extra manifest: the run has {len(expected):,} such shards, and this is none of them"
        for shard in sorted(set(names) - set(expected))
    ]
    if stage.name in manifests.staged and not missing:
        presence.incomplete = f"{stage.name}: {len(expected):,} shards are made, and not handed on yet"
    if missing and not presence.incomplete:
        presence.incomplete = f"{stage.name} {len(expected) - len(missing):,} of {len(expected):,} shards"


def _is_needed(context: Context, manifests: Manifests, stage: Stage, shard: str) -> bool:
    """Whether something is there that can only have been made of a missing shard."""
    after = list(STAGES.values())[list(STAGES).index(stage.name) + 1 :]
    flow = [other for other in after if other.covers_earlier]
    if stage.per_plan_shard and _is_retried(context, shard):
        return False
    if not stage.covers_earlier:  # stands alone; needed by the next stage that is done
        return any(manifests.names[other.name] for other in after)
    if stage.name == "publish":
        return dataset_there(context)
    of_shard = [other for other in flow if other.per_plan_shard and stage.per_plan_shard]
    of_all = [other for other in flow if other not in of_shard]
    return any(shard in manifests.names[other.name] for other in of_shard) or any(
        manifests.names[other.name] for other in of_all
    )


def _is_retried(context: Context, shard: str) -> bool:
    """Whether `zhclip retry` has taken a shard back and not committed it again."""
    return context.files.size(f"{context.run.stages['download'].folder}/{KEPT}/{shard}.json") is not None


def dataset_there(context: Context) -> bool:
    """Whether the published folder has its manifest."""
    return context.files.size(f"{DATASET}/{DATASET_MANIFEST}") is not None
