"""One stage of a training: its steps, evaluations and checkpoints.

Every random choice follows from (seed, stage, step, rank): a run that was killed continues bit for bit (float32 on CPU).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from foundation.errors import InvalidInput, WorkFailed
from foundation.text import counted
from trainer.checkpoint import Position, save_checkpoint
from trainer.config import Stage, TrainRecipe
from trainer.data.index import PairIndex
from trainer.data.loader import Batch, LoaderConfig, PairLoader
from trainer.data.order import WeightedMixture, epoch_order
from trainer.distributed import World
from trainer.evaluate.datasets import EvaluationSet
from trainer.evaluate.report import evaluate_retrieval
from trainer.gradcache import cached_step, plain_step
from trainer.log import Stopwatch, TrainingLog, memory_mib
from trainer.models.clip import ChineseCLIP
from trainer.optimizer import learning_rate, make_optimizer, set_learning_rate
from trainer.towers import StageModel


class Diverged(WorkFailed):
    """The loss is NaN or infinite; the message names the step and the pairs."""


class BatchTooLarge(InvalidInput, ValueError):
    """A batch size that the pairs do not fill, or that the processes cannot share."""


@dataclass(frozen=True)
class Training:
    """What all stages of a training share."""

    recipe: TrainRecipe
    folder: Path
    world: World
    index: PairIndex
    evaluation_sets: dict[str, EvaluationSet]


@dataclass
class State:
    """What changes while training."""

    model: ChineseCLIP
    position: Position
    optimizer: dict[str, Any] | None = None  # of the stage that a checkpoint was written in
    scaler: dict[str, Any] | None = None


def write_checkpoint(
    training: Training,
    state: State,
    optimizer: torch.optim.Optimizer | None = None,
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Write a checkpoint from the first process; the weights' names are cn_clip's, which writes them from inside DDP."""
    if training.world.first:
        content = {
            "name": "zhclip",
            "state_dict": {f"module.{name}": tensor for name, tensor in state.model.state_dict().items()},
            "optimizer": optimizer.state_dict() if optimizer else None,
            "scaler": scaler.state_dict() if scaler else None,
            "recipe": training.recipe.model_dump(mode="json"),
        }
        save_checkpoint(training.folder, state.position, content, training.recipe.keep_checkpoints)
    training.world.wait()


def steps_of(stage: Stage, index: PairIndex) -> int:
    """Steps of a stage on these pairs; an epoch ends with the last full batch.

    Raises:
        BatchTooLarge: an epoch does not fill a batch.
    """
    steps_of_epoch = WeightedMixture.of(index).num_pairs // stage.batch_size
    if not steps_of_epoch:
        raise BatchTooLarge(
            f"stages.{stage.name}.batch_size {stage.batch_size} is larger than an epoch of the {counted(len(index), 'pair')}"
        )
    return stage.steps or math.ceil(steps_of_epoch * stage.epochs)


class StageRun:
    """One stage of a training, in one of its processes.

    `stop_asked` is called after each step: whether this process was asked to end.
    """

    def __init__(self, training: Training, state: State, log: TrainingLog, stop_asked: Callable[[], bool]) -> None:
        self.training, self.state, self.log, self.stop_asked = training, state, log, stop_asked
        self.recipe, self.world = training.recipe, training.world
        self.stage: Stage = self.recipe.stages[state.position.stage]
        if self.stage.batch_size % self.world.size:
            raise BatchTooLarge(
                f"stages.{self.stage.name}.batch_size {self.stage.batch_size} cannot be shared by {self.world.size} processes"
            )
        self.evaluated = -1  # step of the last evaluation
        self.steps = steps_of(self.stage, training.index)
        self.model = StageModel(state.model, self.stage, self.recipe, self.world.device)
        self.optimizer = make_optimizer(self.model, self.stage)
        self.scaler = torch.amp.GradScaler(self.world.device.type, enabled=self.recipe.precision == "float16")
        if state.optimizer:
            self.optimizer.load_state_dict(state.optimizer)
        if state.scaler:
            self.scaler.load_state_dict(state.scaler)
        self.forward: nn.Module = torch.compile(self.model) if self.recipe.compile else self.model  # type: ignore[assignment]
        if self.world.size > 1:
            self.forward = DistributedDataParallel(self.forward, device_ids=self._devices())

    def run(self) -> bool:
        """Trains to the end of the stage; False where a signal ended it before."""
        self.log.stage(self.stage.name, self.steps, self.state.position.stage_step)
        self.model.train()
        if self.training.evaluation_sets and not self.state.position.step:
            self._evaluate()
        watch = Stopwatch()
        for batch in self._batches():
            watch.data_is_here()
            self._report(self._step(batch), batch, watch)
            if self.world.any(self.stop_asked()):
                self._save()
                return False
            if self._evaluation_is_due() and not self._evaluate():
                break
            if self.state.position.step % self.recipe.checkpoint_every == 0:
                self._save()
        if self.evaluated != self.state.position.step:
            self._evaluate()
        self._save()
        return True

    def _batches(self) -> Iterator[Batch]:
        """Batches from where the stage is to its end, epoch by epoch."""
        position, data, world = self.state.position, self.recipe.data, self.world
        order = epoch_order(
            self.training.index,
            position.epoch,
            seed=self.recipe.seed + 1_000_003 * position.stage,  # a stage does not repeat the order of the one before
            world=world.size,
            rank=world.rank,
            batch_per_rank=self.stage.batch_size // world.size,
            start=position.epoch_pairs,
        )
        size = self.recipe.model.vision.image_size
        config = LoaderConfig(size, data.augment, data.max_length, data.workers, device=world.device)
        loader = PairLoader(self.training.index, order, config)
        try:
            while position.stage_step < self.steps:
                order.set_epoch(position.epoch, position.epoch_pairs)
                yield from itertools.islice(loader, self.steps - position.stage_step)
                position.epoch, position.epoch_pairs = position.epoch + 1, 0
        finally:
            loader.close()

    def _step(self, batch: Batch) -> dict[str, float]:
        """One update; the loss is that of the global batch."""
        position = self.state.position
        rate = learning_rate(self.stage, position.stage_step, self.steps)
        set_learning_rate(self.optimizer, rate)
        torch.manual_seed(hash((self.recipe.seed, position.stage, position.stage_step, self.world.rank)))  # dropout
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(batch)
        if not math.isfinite(loss):
            raise Diverged(
                f"step {position.step + 1}: the loss is {loss}; pairs {', '.join(batch.keys[:8])} …; learning rate {rate:g}"
            )
        self.scaler.unscale_(self.optimizer)
        if self.stage.clip_grad_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.stage.clip_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(self.stage.max_temperature))
        position.stage_step += 1
        position.step += 1
        position.epoch_pairs += self.stage.batch_size
        position.pairs_seen += self.stage.batch_size
        return {"loss": loss, "learning_rate": rate, "logit_scale": float(self.model.logit_scale.detach().exp())}

    def _backward(self, batch: Batch) -> float:
        chunk = self.stage.chunk_size
        if chunk and chunk < len(batch.images):
            return float(cached_step(self.forward, batch.images, batch.tokens, chunk, scaler=self.scaler))
        return float(plain_step(self.forward, batch.images, batch.tokens, scaler=self.scaler))

    def _report(self, figures: dict[str, float], batch: Batch, watch: Stopwatch) -> None:
        position = self.state.position
        seconds, waited = watch.step_is_done()
        line = {
            "step": position.step, "stage": self.stage.name, "epoch": position.epoch, "pairs_seen": position.pairs_seen,
            **figures, "pairs_per_second": self.stage.batch_size / seconds, "data_wait": waited, "memory_mib": memory_mib(),
        }  # fmt: skip
        for key, error in batch.skipped:
            text = f"step {position.step:,}: pair {key} was skipped: {error}"
            self.log.announce(text, step=position.step, stage=self.stage.name, pair=key)
        self.log.step(line, write=position.step % self.recipe.log_every == 0 or position.stage_step == self.steps)

    def _evaluation_is_due(self) -> bool:
        return bool(self.training.evaluation_sets) and self.state.position.step % self.recipe.evaluation.every == 0

    def _evaluate(self) -> bool:
        """Retrieval on all sets; False where the stage's patience is at its end."""
        position = self.state.position
        recall = self.world.of_first(self._mean_recall() if self.world.first else 0.0)
        self.evaluated = position.step
        if recall > position.best_recall:
            position.best_recall, position.evaluations_since_best = recall, 0
        else:
            position.evaluations_since_best += 1
        return self.stage.patience is None or position.evaluations_since_best < self.stage.patience

    def _mean_recall(self) -> float:
        position, recalls = self.state.position, []
        self.model.eval()
        for name, evaluation_set in self.training.evaluation_sets.items():
            result = evaluate_retrieval(
                self.state.model, evaluation_set, self.recipe.model.vision.image_size, self.recipe.evaluation.batch_size,
                self.world.device, self.model.dtype,
            )  # fmt: skip
            recalls.append(result.mean_recall)
            line = {
                "step": position.step,
                "stage": self.stage.name,
                "pairs_seen": position.pairs_seen,
                "evaluation": name,
            }
            self.log.evaluation({**line, **result.to_json()})
        self.model.train()
        return sum(recalls) / len(recalls) if recalls else 0.0

    def _save(self) -> None:
        write_checkpoint(self.training, self.state, self.optimizer, self.scaler)

    def _devices(self) -> list[int] | None:
        return [self.world.device.index] if self.world.device.type == "cuda" else None
