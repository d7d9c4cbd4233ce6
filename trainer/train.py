"""Two-stage pretraining: the loop.

Every random choice follows from (seed, stage, step, rank): a run that was killed continues bit for bit (float32 on CPU).
"""

from __future__ import annotations

import itertools
import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from foundation.config import differences, dump, load
from foundation.errors import InvalidInput, WorkFailed
from trainer.checkpoint import Position, checkpoints, load_checkpoint, save_checkpoint
from trainer.config import Stage, TrainRecipe
from trainer.data.index import PairIndex
from trainer.data.loader import PairLoader
from trainer.data.order import Mixture, Order, ShardOrder, epoch_order
from trainer.data.pairs import Batch
from trainer.distributed import World
from trainer.evaluate.datasets import EvaluationSet
from trainer.evaluate.report import evaluate_retrieval
from trainer.gradcache import cached_step, plain_step
from trainer.log import Stopwatch, TrainingLog, memory_mib
from trainer.models.clip import ChineseCLIP, build_model
from trainer.models.initialise import initialise
from trainer.optimizer import learning_rate, make_optimizer, set_learning_rate
from trainer.towers import StageModel

DONE, STOPPED = "done", "stopped"


class Diverged(WorkFailed):
    """The loss is no number any more; the message names the step and the pairs."""


FREE_TO_CHANGE = ("evaluation", "checkpoint_every", "keep_checkpoints", "log_every")  # in the middle of a training


class OtherRecipe(InvalidInput, ValueError):
    """A folder that holds a training with another recipe; the message names the differences."""


class BatchTooLarge(InvalidInput, ValueError):
    """A batch size that the pairs do not fill, or that the processes cannot share."""


def settle_recipe(folder: Path, recipe: TrainRecipe, world: World) -> None:
    """Writes the resolved recipe into a new training's folder, or checks that it is the one the training began with.

    Raises:
        OtherRecipe: it differs in more than how often things are logged, saved and evaluated.
        ConfigError: the one in the folder was damaged.
    """
    path = folder / "recipe.yaml"
    if path.exists():
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


@dataclass
class State:
    """What changes while training."""

    model: ChineseCLIP
    position: Position
    optimizer: dict[str, Any] | None = None  # of the stage that a checkpoint was written in
    scaler: dict[str, Any] | None = None


class Trainer:
    """One training, in one of its processes."""

    def __init__(self, recipe: TrainRecipe, folder: Path, world: World) -> None:
        self.recipe, self.folder, self.world = recipe, folder, world
        self.index = PairIndex.open(recipe.data.shards, recipe.data.where, recipe.data.weights)
        self.sets = {name: EvaluationSet.load(path) for name, path in recipe.evaluation.sets.items()}
        self.signalled = False

    def run(self, resume: bool = True, stages: int | None = None) -> str:
        """Trains all stages, from the newest checkpoint in the folder where there is one.

        Args:
            stages: end after so many of the recipe's stages; another call goes on where this one ended, bit for bit.

        Returns:
            "done", or "stopped" after a signal, with a checkpoint written.

        Raises:
            Diverged: the loss became NaN or infinite.
            CheckpointError: the newest checkpoint is damaged.
        """
        state = self._begin(resume)
        with TrainingLog(self.folder, state.position.step, self.world.first) as log, self._signals():
            self._tell(log, state)
            while state.position.stage < len(self.recipe.stages[:stages]):
                if not StageRun(self, state, log).run():
                    return STOPPED
                self._draw_curve()
                state.position = replace(
                    state.position, stage=state.position.stage + 1, stage_step=0, epoch=0, epoch_pairs=0,
                    best_recall=-1.0, evaluations_since_best=0,
                )  # fmt: skip
                state.optimizer = state.scaler = None
            self.save(state)
        return DONE

    def _begin(self, resume: bool) -> State:
        torch.manual_seed(self.recipe.seed)
        model = build_model(self.recipe.model)
        found = checkpoints(self.folder) if resume else []
        if not found:
            initialise(model, self.recipe.init)
            return State(model.to(self.world.device), Position())
        position, state = load_checkpoint(found[-1])
        model.load_state_dict({name.removeprefix("module."): tensor for name, tensor in state["state_dict"].items()})
        return State(model.to(self.world.device), position, state["optimizer"], state["scaler"])

    def _tell(self, log: TrainingLog, state: State) -> None:
        millions = sum(parameter.numel() for parameter in state.model.parameters()) / 1e6
        log.say(
            f"{millions:,.0f} M parameters, {len(self.index):,} pairs, {self.world.size} process(es) on {self.world.device}"
        )
        if state.position.step:
            log.say(f"continues after step {state.position.step:,} ({state.position.pairs_seen:,} pairs seen)")

    def _draw_curve(self) -> None:
        """Recall against pairs seen, as the paper's Figure 2, where there are evaluation sets."""
        if self.world.first and self.sets:
            from trainer.evaluate.curve import plot_curve

            plot_curve(self.folder / "log.jsonl", self.folder / "curve.png")

    def save(
        self, state: State, optimizer: torch.optim.Optimizer | None = None, scaler: torch.amp.GradScaler | None = None
    ) -> None:
        """Writes a checkpoint; the names of the weights are cn_clip's, which writes them from inside DDP."""
        if self.world.first:
            content = {
                "name": "zhclip",
                "state_dict": {f"module.{name}": tensor for name, tensor in state.model.state_dict().items()},
                "optimizer": optimizer.state_dict() if optimizer else None,
                "scaler": scaler.state_dict() if scaler else None,
                "recipe": self.recipe.model_dump(mode="json"),
            }
            save_checkpoint(self.folder, state.position, content, self.recipe.keep_checkpoints)
        self.world.wait()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the training after the step at hand, with a checkpoint."""

        def stop(*_: object) -> None:
            self.signalled = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def steps_of(stage: Stage, index: PairIndex) -> int:
    """Steps of a stage on these pairs; an epoch ends with the last whole batch.

    Raises:
        BatchTooLarge: an epoch does not fill a batch.
    """
    epoch = Mixture(index).num_rows // stage.batch_size  # with weights
    if not epoch:
        raise BatchTooLarge(
            f"stages.{stage.name}.batch_size {stage.batch_size} is larger than an epoch of the {len(index)} pairs"
        )
    return stage.steps or math.ceil(epoch * stage.epochs)


class StageRun:
    """One stage of a training."""

    def __init__(self, trainer: Trainer, state: State, log: TrainingLog) -> None:
        self.trainer, self.state, self.log = trainer, state, log
        self.recipe, self.world = trainer.recipe, trainer.world
        self.stage: Stage = self.recipe.stages[state.position.stage]
        if self.stage.batch_size % self.world.size:
            raise BatchTooLarge(
                f"stages.{self.stage.name}.batch_size {self.stage.batch_size} cannot be shared by {self.world.size} processes"
            )
        self.evaluated = -1  # step of the last evaluation
        self.steps = steps_of(self.stage, trainer.index)
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
        if self.trainer.sets and not self.state.position.step:
            self._evaluate()
        watch = Stopwatch()
        for batch in self._batches():
            watch.data_is_here()
            self._report(self._step(batch), batch, watch)
            if self.world.any(self.trainer.signalled):
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
        position, data = self.state.position, self.recipe.data
        loader = PairLoader(
            self.trainer.index, self._order(), self.recipe.model.vision.image_size, data.augment, data.max_length, data.workers,
            device=self.world.device,
        )  # fmt: skip
        try:
            while position.stage_step < self.steps:
                loader.order = self._order()
                yield from itertools.islice(loader, self.steps - position.stage_step)
                position.epoch, position.epoch_pairs = position.epoch + 1, 0
        finally:
            loader.close()

    def _order(self) -> Order | ShardOrder:
        position = self.state.position
        return epoch_order(
            self.trainer.index,
            position.epoch,
            seed=self.recipe.seed + 1_000_003 * position.stage,  # a stage does not repeat the order of the one before
            world=self.world.size,
            rank=self.world.rank,
            batch_per_rank=self.stage.batch_size // self.world.size,
            start=position.epoch_pairs,
        )

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

    def _report(self, found: dict[str, float], batch: Batch, watch: Stopwatch) -> None:
        position = self.state.position
        seconds, waited = watch.step_is_done()
        line = {
            "step": position.step, "stage": self.stage.name, "epoch": position.epoch, "pairs_seen": position.pairs_seen,
            **found, "pairs_per_second": self.stage.batch_size / seconds, "data_wait": waited, "memory_mib": memory_mib(),
        }  # fmt: skip
        for key, error in batch.skipped:
            self.log.say(f"step {position.step:,}: pair {key} was skipped: {error}")
        self.log.step(line, write=position.step % self.recipe.log_every == 0 or position.stage_step == self.steps)

    def _evaluation_is_due(self) -> bool:
        return bool(self.trainer.sets) and self.state.position.step % self.recipe.evaluation.every == 0

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
        position, found = self.state.position, []
        self.model.eval()
        for name, one in self.trainer.sets.items():
            result = evaluate_retrieval(
                self.state.model, one, self.recipe.model.vision.image_size, self.recipe.evaluation.batch_size,
                self.world.device, self.model.dtype,
            )  # fmt: skip
            found.append(result.mean_recall)
            line = {
                "step": position.step,
                "stage": self.stage.name,
                "pairs_seen": position.pairs_seen,
                "evaluation": name,
            }
            self.log.evaluation({**line, **result.to_json()})
        self.model.train()
        return sum(found) / len(found) if found else 0.0

    def _save(self) -> None:
        self.trainer.save(self.state, self.optimizer, self.scaler)

    def _devices(self) -> list[int] | None:
        return [self.world.device.index] if self.world.device.type == "cuda" else None
