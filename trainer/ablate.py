"""Which data set trains the better model: one recipe on each of them, with equal steps and several seeds.

The question behind every curation (DataComp, arXiv 2304.14108, asks it in the same way): hold the training fixed, change
the data, and compare on the same evaluation sets. The spread over seeds says how much of a difference is chance.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.errors import EXIT_INTERRUPTED, InvalidInput, ZhclipError
from trainer.config import TrainRecipe
from trainer.data.index import PairIndex
from trainer.distributed import World
from trainer.log import read_log
from trainer.pin import pin_recipe
from trainer.stage import steps_of
from trainer.train import DONE, Trainer

FIGURES = ("mean_recall", "image_to_text_r1", "text_to_image_r1")


class AblationError(InvalidInput, ValueError):
    """An ablation that would compare nothing; the message says what is missing."""


class AblationStopped(ZhclipError):
    """A signal ended one of the trainings; the message names its folder."""

    exit_code = EXIT_INTERRUPTED


@dataclass(frozen=True)
class Result:
    """One training of the comparison, on one evaluation set."""

    data: str  # name of the data set
    seed: int
    evaluation: str  # name of the evaluation set
    pairs: int  # that the data set has, after `where`
    steps: int
    figures: dict[str, float]  # of FIGURES those that the set reports, percent


@dataclass(frozen=True)
class Spread:
    """One figure of one data set over the seeds, percent."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """Standard deviation over seeds (n - 1)."""
        return statistics.stdev(self.values)

    def ahead_of(self, other: Spread) -> Spread:
        """The differences seed by seed: with one seed, both began from the same weights."""
        return Spread(tuple(value - other_value for value, other_value in zip(self.values, other.values, strict=True)))


def ablate(
    recipe: TrainRecipe, data: Mapping[str, str], seeds: Sequence[int], folder: Path, world: World
) -> list[Result]:
    """Trains `recipe` on each data set with each seed, in folder/NAME/seed-N, and returns the last evaluation of each.

    Every training has the steps that the recipe makes of the first data set. Each is a training folder like any other: one
    that is finished is not done again, one that was interrupted goes on.

    Args:
        data: name → published folder; `recipe.data.where` applies to all of them.

    Raises:
        AblationError: fewer than two data sets or seeds, or no evaluation set.
        AblationStopped: a signal ended a training; its checkpoint is written.
    """
    _check(recipe, data, seeds)
    indexes = {name: PairIndex.open((path,), recipe.data.where, recipe.data.weights) for name, path in data.items()}
    equal = with_steps(recipe, next(iter(indexes.values())))
    results: list[Result] = []
    for seed in seeds:
        for name, path in data.items():
            training = equal.model_copy(
                update={"seed": seed, "data": recipe.data.model_copy(update={"shards": (path,)})}
            )
            out = folder / name / f"seed-{seed}"
            trainer = Trainer(training, out, world)
            pin_recipe(out, training, world)
            if trainer.run() != DONE:
                raise AblationStopped(f"{out} was interrupted; run the same command again to continue")
            results += last_results(out, name, seed, len(indexes[name]))
    return results


def with_steps(recipe: TrainRecipe, index: PairIndex) -> TrainRecipe:
    """The recipe with the length of each stage as the steps that it has on `index`."""
    stages = tuple(stage.model_copy(update={"steps": steps_of(stage, index)}) for stage in recipe.stages)
    return recipe.model_copy(update={"stages": stages})


def last_results(out: Path, data: str, seed: int, pairs: int) -> list[Result]:
    """The last line of each evaluation set in a training's log."""
    last: dict[str, dict[str, Any]] = {
        line["evaluation"]: line for line in read_log(out / "log.jsonl") if "evaluation" in line
    }
    return [
        Result(data, seed, name, pairs, line["step"], {figure: line[figure] for figure in FIGURES if figure in line})
        for name, line in last.items()
    ]


def spreads(results: Sequence[Result], figure: str = "mean_recall") -> dict[str, dict[str, Spread]]:
    """Evaluation set → data set → the figure over seeds, in the order of the results."""
    values_of: dict[str, dict[str, list[float]]] = {}
    for result in results:
        if figure in result.figures:
            values_of.setdefault(result.evaluation, {}).setdefault(result.data, []).append(result.figures[figure])
    return {name: {data: Spread(tuple(values)) for data, values in sets.items()} for name, sets in values_of.items()}


def verdict(spread: Mapping[str, Spread]) -> str:
    """One sentence on one evaluation set: which data set is best, by how much, and whether that is more than chance.

    A data set wins where every seed of it is ahead of the same seed of the next one, by more on average than the
    standard deviation of these differences.
    """
    best, second = sorted(spread, key=lambda name: -spread[name].mean)[:2]
    ahead = spread[best].ahead_of(spread[second])
    by = f"{ahead.mean:.1f} ± {ahead.deviation:.1f} points of mean recall ahead of {second}, seed by seed"
    if min(ahead.values) > 0 and ahead.mean > ahead.deviation:
        return f"{best} wins: {by}, and on every seed"
    return f"no clear winner: {best} is {by}"


def _check(recipe: TrainRecipe, data: Mapping[str, str], seeds: Sequence[int]) -> None:
    if len(data) < 2:
        raise AblationError(
            "an ablation compares at least two data sets: --data curated=FOLDER --data uncurated=FOLDER"
        )
    if len(set(seeds)) < 2:
        raise AblationError("an ablation needs at least two seeds, or its spread is unknown: --seeds 3")
    if not recipe.evaluation.sets:
        raise AblationError("nothing to compare on: name a set, such as --evaluate-on muge=data/MUGE")
