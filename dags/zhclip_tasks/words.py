"""The words of each zhclip command, from a DAG run's settings. No shell ever sees them, so nothing is quoted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STAGES: list[str] = json.loads(Path(__file__).with_name("stages.json").read_text(encoding="utf-8"))
"""The stage commands of zhclip, which need not be installed where Airflow parses DAGs: `python -m tools.docs` writes the file."""

Settings = Mapping[str, Any]
"""A DAG run's params (see params.py), with the paths of its run and training made absolute."""


def stage_words(stage: str, settings: Settings) -> list[str]:
    """`zhclip STAGE RECIPE --run RUN …`; `stage` is one of STAGES."""
    workers = ["--workers", str(settings["workers"])] if settings["workers"] else []
    beam = ["--", *settings["beam_options"]] if settings["beam_options"] else []
    words = [stage, settings["recipe"], "--run", settings["run"], *workers]
    return [*words, *_sets(settings["overrides"]), *beam]


def recipe_words(command: str, settings: Settings) -> list[str]:
    """`zhclip recipe show RECIPE`, or `recipe files RECIPE --json`, with the overrides."""
    form = ["--json"] if command == "files" else []
    return ["recipe", command, settings["recipe"], *_sets(settings["overrides"]), *form]


def check_words(settings: Settings) -> list[str]:
    """`zhclip check RUN [--policy POLICY] [--against RUN]`; zhclip has a policy of its own where none is named."""
    policy = ["--policy", settings["policy"]] if settings["policy"] else []
    return ["check", settings["run"], *policy, *_against(settings)]


def report_words(settings: Settings) -> list[str]:
    """`zhclip report RUN [--out FILE] [--against RUN]`; by default RUN/report.html."""
    out = ["--out", settings["report"]] if settings["report"] else []
    return ["report", settings["run"], *out, *_against(settings)]


def train_words(stages: int, settings: Settings) -> list[str]:
    """What follows `zhclip train`: the first `stages` stages of the preset on the published pairs, continuing what is there."""
    data = f"{settings['run'].rstrip('/')}/dataset"  # of a folder or of an address
    words = [settings["preset"], "--data", data, "--out", settings["training"]]
    return [*words, *_sets(settings["training_overrides"]), "--stages", str(stages)]


def evaluate_words(settings: Settings) -> list[str] | None:
    """`zhclip evaluate retrieval CHECKPOINT SET` on the newest checkpoint; None where no evaluation set is named.

    Raises:
        FileNotFoundError: the training has left no checkpoint.
    """
    if not settings["evaluation_set"]:
        return None
    split = ["--split", settings["evaluation_split"]] if settings["evaluation_split"] else []
    newest = str(newest_checkpoint(Path(settings["training"])))
    return ["evaluate", "retrieval", newest, settings["evaluation_set"], *split, "--json"]


def newest_checkpoint(training: Path) -> Path:
    """The checkpoint of a training folder that has seen the most steps.

    Raises:
        FileNotFoundError: there is none.
    """
    checkpoints = sorted(training.glob("checkpoint-*.pt"))  # eight digits, so the order of names is that of steps
    if not checkpoints:
        raise FileNotFoundError(
            f"{training} holds no checkpoint-NNNNNNNN.pt: has the training run on this file system?"
        )
    return checkpoints[-1]


def has_translation(recipe: Mapping[str, Any]) -> bool:
    """Whether a source of this (resolved) recipe has a model that translates its captions."""
    return any((source.get("translation") or {}).get("model") for source in recipe["sources"].values())


def _sets(overrides: list[str] | None) -> list[str]:
    return [word for override in overrides or () for word in ("--set", override)]


def _against(settings: Settings) -> list[str]:
    return ["--against", settings["against"]] if settings["against"] else []
