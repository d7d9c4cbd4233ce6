"""The recipe that a training's folder is bound to."""

from __future__ import annotations

from pathlib import Path

from foundation.config import differences, dump, load
from foundation.errors import InvalidInput
from trainer.checkpoint import checkpoints
from trainer.config import TrainRecipe
from trainer.distributed import World
from trainer.log import read_log

FREE_TO_CHANGE = ("evaluation", "checkpoint_every", "keep_checkpoints", "log_every")  # in the middle of a training


class OtherRecipe(InvalidInput, ValueError):
    """A folder that holds a training with another recipe; the message names the differences."""


def pin_recipe(folder: Path, recipe: TrainRecipe, world: World) -> None:
    """Write the resolved recipe into a new training's folder, or check that it is the one the training began with.

    A folder in which no step was done yet, with neither a checkpoint nor a line of the log, holds nobody to its recipe.

    Raises:
        OtherRecipe: it differs in more than how often the training is logged, saved and evaluated.
        ConfigError: the one in the folder was damaged.
    """
    path = folder / "recipe.yaml"
    if path.exists() and (checkpoints(folder) or any(line["step"] for line in read_log(folder / "log.jsonl"))):
        before = load(TrainRecipe, path, kind="training recipe").model_dump(mode="json")
        lines = [
            line for line in differences(before, recipe.model_dump(mode="json")) if not line.startswith(FREE_TO_CHANGE)
        ]
        if lines:
            listed = "\n".join(f"  {line}" for line in lines)
            raise OtherRecipe(
                f"{folder} holds a training with another recipe:\n{listed}\nName another folder with --out."
            )
    world.wait()  # nobody writes before all have looked
    if world.first:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(dump(recipe), encoding="utf-8")
