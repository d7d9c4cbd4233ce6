"""Pretraining, stage after stage, from the newest checkpoint or from the start."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from foundation.text import counted
from trainer.checkpoint import Position, checkpoints, load_checkpoint
from trainer.config import TrainRecipe
from trainer.data.index import PairIndex
from trainer.distributed import World
from trainer.evaluate.datasets import EvaluationSet
from trainer.log import TrainingLog
from trainer.models.clip import build_model
from trainer.models.initialise import initialise
from trainer.stage import StageRun, State, Training, write_checkpoint

DONE, STOPPED = "done", "stopped"


class Trainer:
    """One training, in one of its processes."""

    def __init__(self, recipe: TrainRecipe, folder: Path, world: World) -> None:
        self.recipe, self.folder, self.world = recipe, folder, world
        index = PairIndex.open(recipe.data.shards, recipe.data.where, recipe.data.weights)
        evaluation_sets = {name: EvaluationSet.load(path) for name, path in recipe.evaluation.sets.items()}
        self.training = Training(recipe, folder, world, index, evaluation_sets)
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
            self._announce(log, state)
            while state.position.stage < len(self.recipe.stages[:stages]):
                if not StageRun(self.training, state, log, lambda: self.signalled).run():
                    return STOPPED
                self._draw_curve()
                state.position = replace(
                    state.position, stage=state.position.stage + 1, stage_step=0, epoch=0, epoch_pairs=0,
                    best_recall=-1.0, evaluations_since_best=0,
                )  # fmt: skip
                state.optimizer = state.scaler = None
            write_checkpoint(self.training, state)
        return DONE

    def _begin(self, resume: bool) -> State:
        torch.manual_seed(self.recipe.seed)
        model = build_model(self.recipe.model)
        saved = checkpoints(self.folder) if resume else []
        if not saved:
            initialise(model, self.recipe.init)
            return State(model.to(self.world.device), Position())
        position, state = load_checkpoint(saved[-1])
        model.load_state_dict({name.removeprefix("module."): tensor for name, tensor in state["state_dict"].items()})
        return State(model.to(self.world.device), position, state["optimizer"], state["scaler"])

    def _announce(self, log: TrainingLog, state: State) -> None:
        millions = sum(parameter.numel() for parameter in state.model.parameters()) / 1e6
        pairs, processes = counted(len(self.training.index), "pair"), counted(self.world.size, "process", "processes")
        log.announce(
            f"{millions:,.0f} M parameters, {pairs}, {processes} on {self.world.device}",
            parameters_millions=round(millions, 1),
            pairs=len(self.training.index),
            processes=self.world.size,
        )
        if step := state.position.step:
            seen = state.position.pairs_seen
            log.announce(f"continues after step {step:,} ({counted(seen, 'pair')} seen)", step=step, pairs_seen=seen)

    def _draw_curve(self) -> None:
        """Recall against pairs seen, as the paper's Figure 2, where there are evaluation sets."""
        if self.world.first and self.training.evaluation_sets:
            from trainer.evaluate.curve import plot_curve

            plot_curve(self.folder / "log.jsonl", self.folder / "curve.png")

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM, SIGINT and SIGHUP end the training after the step at hand, with a checkpoint; under nohup SIGHUP does not."""

        def stop(*_: object) -> None:
            self.signalled = True

        numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, stop) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
