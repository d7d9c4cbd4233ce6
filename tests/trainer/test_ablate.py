"""Ablation: the same training on data sets of different quality, run as a user runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support import warm
from tests.support.published import write_published
from tests.trainer.test_train import SMALL, signalled
from trainer.ablate import AblationError, Result, Spread, ablate, spreads, verdict
from trainer.config import load_train_recipe
from trainer.distributed import World
from trainer.log import read_log

pytestmark = pytest.mark.slow

STAGE = {"name": "only", "epochs": 6, "batch_size": 16, "learning_rate": 3e-3, "warmup": 5}
CHANGES = {**SMALL, "stages": json.dumps([STAGE]), "evaluation.every": "100000"}


def command(folder: Path, *data: str, seeds: int = 2, out: str = "out") -> list[str]:
    """`zhclip ablate` on data sets in `folder`, evaluated on one there."""
    sets = [part for key, value in CHANGES.items() for part in ("--set", f"{key}={value}")]
    named = [part for name in data for part in ("--data", f"{name}={folder / name}")]
    words = [sys.executable, "-m", "zhclip", "ablate", "tiny", "--out", str(folder / out), *named, *sets]
    return [*words, "--evaluate-on", f"held-out={folder / 'held-out'}", "--seeds", str(seeds)]


def ablation(folder: Path, *data: str) -> subprocess.CompletedProcess[str]:
    return warm.run(command(folder, *data))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ablation")
    write_published(root / "good", 120, seed=1)
    write_published(root / "swapped", 200, seed=2, swapped=True)
    write_published(root / "held-out", 60, seed=3)
    return root


@pytest.fixture(scope="module")
def done(folder: Path) -> subprocess.CompletedProcess[str]:
    return ablation(folder, "good", "swapped")


def test_better_data_wins_with_equal_steps(folder: Path, done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    content = json.loads((folder / "out" / "ablation.json").read_text(encoding="utf-8"))
    results = [Result(**result) for result in content["results"]]
    assert [(result.data, result.seed) for result in results] == [
        ("good", 0),
        ("swapped", 0),
        ("good", 1),
        ("swapped", 1),
    ]
    assert {result.steps for result in results} == {6 * (120 // 16)}  # those of the first, though the second is larger
    assert {result.data: result.pairs for result in results} == {"good": 120, "swapped": 200}
    by_data = spreads(results)["held-out"]
    assert by_data["good"].mean > by_data["swapped"].mean
    assert content["verdicts"][0] in " ".join(done.stdout.split())


@pytest.mark.usefixtures("done")
def test_picture_is_drawn(folder: Path) -> None:
    with Image.open(folder / "out" / "ablation.png") as image:
        assert image.size[0] > 500
        assert len(set(image.convert("RGB").resize((200, 150)).getdata())) > 10


def test_finished_trainings_are_not_done_again(folder: Path, done: subprocess.CompletedProcess[str]) -> None:
    log = folder / "out" / "good" / "seed-1" / "log.jsonl"
    before = [line for line in read_log(log) if "loss" in line]
    again = ablation(folder, "good", "swapped")
    assert again.returncode == 0, again.stderr
    assert [line for line in read_log(log) if "loss" in line] == before  # their times included
    assert again.stdout == done.stdout


def test_a_signal_ends_the_ablation_with_130_and_names_the_training(folder: Path) -> None:
    done = warm.run(signalled(command(folder, "good", "swapped", out="stopped"), signal.SIGTERM, 2))
    assert done.returncode == 130
    assert "seed-0 was interrupted" in " ".join(done.stderr.split())
    assert not (folder / "stopped" / "swapped").exists()


def test_bad_input_is_named(folder: Path) -> None:
    alone = ablation(folder, "good")
    assert alone.returncode == 2
    assert "at least two data sets" in alone.stderr
    twice = ablation(folder, "good", "good")
    assert twice.returncode == 2
    assert "a name of its own" in twice.stderr


def test_nothing_to_compare_on(tmp_path: Path) -> None:
    import torch

    world = World(0, 1, torch.device("cpu"))
    data = {"one": "a", "other": "b"}
    with pytest.raises(AblationError, match="--evaluate-on"):
        ablate(load_train_recipe("tiny"), data, range(2), tmp_path, world)
    with pytest.raises(AblationError, match="at least two seeds"):
        ablate(load_train_recipe("tiny"), data, range(1), tmp_path, world)


def test_verdict_says_whether_seeds_agree() -> None:
    clear = {"curated": Spread((13.0, 18.0)), "uncurated": Spread((12.0, 16.0))}
    assert verdict(clear).startswith("curated wins: 1.5 ± 0.7 points of mean recall ahead of uncurated")
    once_behind = {"uncurated": Spread((12.5, 13.0)), "curated": Spread((12.0, 18.0))}
    assert verdict(once_behind).startswith("no clear winner: curated is 2.2 ± 3.9 points")
    by_chance = {"curated": Spread((13.0, 15.0, 20.0)), "uncurated": Spread((12.9, 14.9, 12.0))}
    assert verdict(by_chance).startswith("no clear winner: curated is 2.7 ± 4.6 points")
