"""Checkpoints that hold everything a training needs to continue at the very next pair, written atomically.

Nothing of the random generators has to be kept: order, augmentation and dropout follow from the seed and the position.
A checkpoint is also one of Chinese-CLIP's: its keys `state_dict`, `epoch`, `step` and `name` are what cn_clip reads.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from foundation.errors import InvalidInput, WorkFailed
from foundation.text import kind_of
from trainer.config import load_train_recipe, presets
from trainer.models.clip import ChineseCLIP, build_model
from trainer.models.config import ModelConfig
from trainer.models.initialise import load_checkpoint as fill_model

NAME = re.compile(r"^checkpoint-(\d{8})\.pt$")


class CheckpointError(WorkFailed):
    """A checkpoint that cannot be used; the message says why."""


class NoCheckpoint(InvalidInput):
    """A path that is no checkpoint at all."""


@dataclass
class Position:
    """How far a training is."""

    stage: int = 0  # number in the recipe, from 0
    stage_step: int = 0  # steps done in this stage
    epoch: int = 0  # of this stage, from 0
    epoch_pairs: int = 0  # global pairs consumed in this epoch
    step: int = 0  # steps done in all
    pairs_seen: int = 0  # global pairs in all
    best_recall: float = -1.0  # of this stage
    evaluations_since_best: int = 0


def save_checkpoint(folder: Path, position: Position, state: dict[str, Any], keep: int) -> Path:
    """Writes checkpoint-STEP.pt so that it exists whole or not at all, and removes all but the newest `keep`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"checkpoint-{position.step:08d}.pt"
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        torch.save({**state, "position": asdict(position), "epoch": position.epoch, "step": position.step}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    for old in checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoints of a folder, oldest first."""
    return sorted(path for path in folder.glob("checkpoint-*.pt") if NAME.match(path.name))


def open_model(path: Path, preset: str | None = None) -> ChineseCLIP:
    """The model of a checkpoint of this trainer, which knows its own shape, or of a foreign one of a preset's shape.

    Raises:
        NoCheckpoint: there is no such file or folder, or the file is no checkpoint.
        CheckpointError: a foreign checkpoint, and no preset named.
        ModelError: weights that do not fit.
    """
    if not path.exists():
        raise NoCheckpoint(f"{path}: no such file or folder")
    if preset:
        config = load_train_recipe(preset).model
    else:
        state = _read(path) if path.is_file() else {}
        if "recipe" not in state:
            raise CheckpointError(
                f"{path} does not say which model it holds; name it with --model ({', '.join(presets())})"
            )
        try:
            config = ModelConfig.model_validate(state["recipe"]["model"])
        except ValidationError as error:
            raise CheckpointError(f"{path} holds a model that this version does not know: {error}") from error
    model = build_model(config)
    fill_model(model, str(path))
    return model.eval()


def _read(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # pickle, zip and torch each have errors of their own
        raise NoCheckpoint(f"{path} is no checkpoint, or a damaged one: PyTorch cannot read it") from error
    if not isinstance(state, dict):
        raise NoCheckpoint(f"{path} is no checkpoint: it holds {kind_of(state)}, not named weights")
    return state


def load_checkpoint(path: Path) -> tuple[Position, dict[str, Any]]:
    """Position and state of a checkpoint of this trainer, on the CPU.

    Raises:
        CheckpointError: the file is damaged or not one of this trainer's.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return Position(**state["position"]), state
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such checkpoint") from None
    except (RuntimeError, KeyError, TypeError, EOFError) as error:
        raise CheckpointError(f"{path}: not a checkpoint to continue from ({type(error).__name__}: {error})") from error
