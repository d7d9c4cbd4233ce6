"""The second half of the demo: the paper's two stages in miniature, and what curation was good for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from demo.corpora import Corpora
from foundation.errors import WorkFailed
from trainer.checkpoint import checkpoints
from trainer.log import read_log

RECIPES = Path(__file__).parent / "training"
CHINESE = "chinese"
FIGURES = ("image_to_text_r1", "image_to_text_r10", "mean_recall")


class StageFailed(WorkFailed):
    """A command of the demo that did not end well; it has said why itself."""


@dataclass(frozen=True)
class Learning:
    """The trainings of the demo, each in a folder of its own under `out`."""

    corpora: Corpora
    curated: Path  # published folders
    uncurated: Path
    out: Path
    seeds: int = 3  # of the ablation
    options: tuple[str, ...] = ()  # for every training, such as ("--set", "stages.0.steps=5") in a test

    def run(self, console: Console) -> None:
        """Trains everything, one command after the other, and shows the recall table.

        Raises:
            StageFailed: a command failed.
        """
        shutil.rmtree(self.out, ignore_errors=True)
        console.rule("[bold]1. A small CLIP learns English names (it stands for OpenAI's)")
        self._train("english", RECIPES / "english.yaml", self.corpora.english)
        console.rule("[bold]2. From its image tower: Chinese, in two stages")
        self._train("chinese", RECIPES / "chinese.yaml", self.curated, *self._judged("unseen", "seen"), *self._start())
        console.rule("[bold]3. Chinese from scratch, as many pairs")
        self._train("scratch", "tiny", self.curated, *self._judged("unseen", "seen"))
        console.rule("[bold]4. Was curation worth it? Stage 1 on curated and on uncurated pairs")
        data = ["--data", f"curated={self.curated}", "--data", f"uncurated={self.uncurated}"]
        given = [*data, *self._judged("unseen", "seen"), *self._start(), "--seeds", str(self.seeds), *self.options]
        zhclip("ablate", RECIPES / "ablation.yaml", "--out", self.out / "ablation", *given)
        console.rule("[bold]What was learnt")
        console.print(recall_table(self.out, self.corpora))

    def _train(self, name: str, recipe: Path | str, data: Path, *more: str) -> None:
        zhclip("train", recipe, "--data", data, "--out", self.out / name, *more, *self.options)

    def _judged(self, *names: str) -> list[str]:
        """Evaluation on drawings that no training sees, and the SQL that keeps their concepts out of training."""
        sets = ", ".join(f"{name}: {getattr(self.corpora, name)}" for name in names)
        return ["--set", f"evaluation.sets={{{sets}}}", "--where", self.corpora.where]

    def _start(self) -> list[str]:
        return ["--set", f"init.image={checkpoints(self.out / 'english')[-1]}"]


def zhclip(*arguments: Any) -> None:
    """Runs a command of zhclip.

    Raises:
        StageFailed: it did not end well.
    """
    words = [str(argument) for argument in arguments]
    if subprocess.run([sys.executable, "-m", "zhclip", *words], check=False).returncode:
        raise StageFailed(f"zhclip {' '.join(words)}")


def recall_table(out: Path, corpora: Corpora) -> Table:
    """Recall before, between and after the stages, and from scratch; image to text R@1 and R@10, and the mean of all six."""
    rows = {"before stage 1": (CHINESE, "stage-1", 0), "after stage 1": (CHINESE, "stage-1", -1)}
    rows |= {"after stage 2": (CHINESE, "stage-2", -1), "from scratch": ("scratch", "from-scratch", -1)}
    table = Table(
        title="Zero-shot retrieval in a style that no training has seen: image → text, and mean recall; percent"
    )
    table.add_column("", no_wrap=True)
    for name in ("unseen", "seen"):
        for heading in (f"{name}\nR@1", "concepts\nR@10", "\nmean"):
            table.add_column(heading, justify="right")
    table.add_row("chance", *(cell for name in ("unseen", "seen") for cell in _chance(getattr(corpora, name))))
    for title, (folder, stage, line) in rows.items():
        lines_of = evaluations(out / folder, stage)
        table.add_row(title, *(cell for name in ("unseen", "seen") for cell in _cells(lines_of[name][line])))
    return table


def evaluations(folder: Path, stage: str) -> dict[str, list[dict[str, Any]]]:
    """The evaluation lines of one stage in a training's log, in order, by evaluation set."""
    lines_of: dict[str, list[dict[str, Any]]] = {}
    for line in read_log(folder / "log.jsonl"):
        if "evaluation" in line and line["stage"] == stage:
            lines_of.setdefault(line["evaluation"], []).append(line)
    return lines_of


def _cells(line: dict[str, Any]) -> list[str]:
    return [f"{line[figure]:.1f}" for figure in FIGURES]


def _chance(folder: Path) -> list[str]:
    """What a model that knows nothing reaches; texts are as many as images, but for a few of equal wording."""
    images = len((folder / "captions.jsonl").read_text(encoding="utf-8").splitlines())
    recalls = [100 * k / images for k in (1, 5, 10)]
    return [f"{recalls[0]:.1f}", f"{recalls[2]:.1f}", f"{sum(recalls) / 3:.1f}"]
