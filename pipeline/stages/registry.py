"""All stages of a run, in order: the one place where a stage is entered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from itertools import groupby
from operator import attrgetter

from pipeline.recipe import Recipe
from pipeline.run.outcomes import WAITING, Outcome
from pipeline.stages.base import Stage
from pipeline.stages.dedup_images.stage import DedupImages
from pipeline.stages.download.stage import Download
from pipeline.stages.eval_images.stage import EvalImages
from pipeline.stages.filter import Filter
from pipeline.stages.plan import Plan
from pipeline.stages.publish.stage import Publish
from pipeline.stages.read.stage import Read
from pipeline.stages.score.stage import Score
from pipeline.stages.select import Select
from pipeline.stages.translate.stage import Translate

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Translate(),  # English captions → Chinese, where a source has a model for it
        Read(),  # metadata files → pairs, with what each row-wise rule says of them
        Filter(),  # pairs with an equal caption together → duplicates, frequencies; the ledger of all rules
        Plan(),  # kept pairs in key order, divided into shards
        Download(),
        Score(),
        EvalImages(),  # fingerprints of each evaluation set, once
        DedupImages(),  # what only all pairs together can tell
        Select(),
        Publish(),
    )
}


def _commands() -> dict[str, tuple[Stage, ...]]:
    commands: dict[str, tuple[Stage, ...]] = {}
    for name, stages in groupby(STAGES.values(), key=attrgetter("command")):
        if name in commands:
            order = ", ".join(stage.command for stage in STAGES.values())
            raise ValueError(f"the stages of one command have to follow one another; found {order}")
        commands[name] = tuple(stages)
    return commands


COMMANDS: Mapping[str, tuple[Stage, ...]] = _commands()
"""The stages of each command of the command line."""


def _outcomes() -> dict[str, tuple[str, Outcome]]:
    outcomes: dict[str, tuple[str, Outcome]] = {}
    for stage in STAGES.values():
        for outcome in stage.outcomes:
            if outcome.key in outcomes:
                raise ValueError(f"outcome {outcome.key!r} is declared by {outcomes[outcome.key][0]} and {stage.name}")
            outcomes[outcome.key] = stage.name, outcome
    return outcomes


OUTCOMES: Mapping[str, tuple[str, Outcome]] = _outcomes()
"""Outcome key → the stage that decides it, and the outcome; in the order of the flow, `published` last."""

PUBLISHED: Outcome = OUTCOMES["published"][1]


def outcome_of(stage: str, ledger: str | None = None) -> Outcome:
    """What became of a row whose last word is that of a stage.

    Args:
        ledger: value of the ledger's `outcome` column; None where the stage handed the row on.
    """
    return next((outcome for outcome in STAGES[stage].outcomes if outcome.ledger == ledger), WAITING)


LEDGER_STAGES: tuple[str, ...] = tuple(
    stage.name for stage in STAGES.values() if any(outcome.ledger for outcome in stage.outcomes)
)
"""Stages that write a ledger."""


def digest(recipe: Recipe, name: str) -> str:
    """16 hex digits that change when the output of a stage would: they cover all stages up to it, unless it stands alone."""
    stage = STAGES[name]
    names = list(STAGES)
    before = [STAGES[other] for other in names[: names.index(name)]] if stage.covers_earlier else []
    parts = [
        inputs for part in (*before, stage) if part.covers_earlier or part is stage if (inputs := part.inputs(recipe))
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def enabled(recipe: Recipe) -> list[Stage]:
    """The stages that a run of this recipe has."""
    return [stage for stage in STAGES.values() if stage.enabled(recipe)]
