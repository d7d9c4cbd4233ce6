"""The training loop, run as people run it: as a process, on real shards, killed, stopped, and under torchrun."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tests.support import warm
from tests.support.paths import REPOSITORY
from tests.support.published import write_published
from trainer.checkpoint import checkpoints, load_checkpoint
from trainer.log import read_log
from zhclip.app import app

pytestmark = pytest.mark.slow

SMALL = {
    "precision": "float32",
    "log_every": "1",
    "checkpoint_every": "4",
    "data.workers": "0",
    "model.vision.width": "8",
    "model.text.hidden_size": "32",
    "model.text.intermediate_size": "64",
    "stages": json.dumps(
        [
            {"name": "locked", "freeze": ["image"], "epochs": 2, "batch_size": 16, "learning_rate": 1e-3, "warmup": 2},
            {"name": "open", "epochs": 2, "batch_size": 16, "learning_rate": 5e-4, "warmup": 2},
        ]
    ),
}
STEPS = 2 * 2 * (90 // 16)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published(tmp_path_factory.mktemp("data") / "dataset", 90)


def command(data: Path, out: Path, processes: int = 1, **changes: str) -> list[str]:
    sets = [part for key, value in {**SMALL, **changes}.items() for part in ("--set", f"{key}={value}")]
    start = [sys.executable, "-m", "trainer"]
    if processes > 1:
        start = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={processes}",
            "-m",
            "trainer",
        ]
    return [*start, "tiny", "--data", str(data), "--out", str(out), *sets]


def train(data: Path, out: Path, processes: int = 1, **changes: str) -> subprocess.CompletedProcess[str]:
    asked = command(data, out, processes, **changes)
    return warm.run(asked)


def signalled(command: list[str], number: signal.Signals, step: int) -> list[str]:
    """The same program, which gets a signal as soon as it has logged a step."""
    python, flag, *words = command
    return [python, flag, "tests.trainer.signalled", str(int(number)), str(step), *words]


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in read_log(out / "log.jsonl") if "loss" in line]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(checkpoints(out)[-1])[1]["state_dict"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    done = train(data, out)
    assert done.returncode == 0, done.stderr
    return out


def test_it_learns(data: Path, tmp_path: Path) -> None:
    stage = [{"name": "long", "epochs": 16, "batch_size": 16, "learning_rate": 3e-3, "warmup": 5}]
    done = train(
        data, tmp_path / "out", stages=json.dumps(stage), **{"data.augment": "null", "model.text.dropout": "0.0"}
    )
    assert done.returncode == 0, done.stderr
    by_step = losses(tmp_path / "out")
    assert sum(by_step[-5:]) / 5 < math.log(16) - 0.5  # chance is log(16)


def test_two_stages_run_to_their_end(undisturbed: Path) -> None:
    assert len(losses(undisturbed)) == STEPS
    position, state = load_checkpoint(checkpoints(undisturbed)[-1])
    assert (position.stage, position.step, position.pairs_seen) == (2, STEPS, STEPS * 16)
    assert state["recipe"]["stages"][0]["freeze"] == ["image"]


def test_a_frozen_tower_stays_as_it_is_batchnorm_statistics_included(
    data: Path, tmp_path: Path, undisturbed: Path
) -> None:
    only_first = json.dumps(json.loads(SMALL["stages"])[:1])
    assert train(data, tmp_path / "out", stages=only_first).returncode == 0
    before_and_after = [weights(tmp_path / "out"), weights(undisturbed)]
    torch.manual_seed(0)
    from trainer.config import load_train_recipe
    from trainer.models.clip import build_model

    sets = [f"{key}={value}" for key, value in SMALL.items()]
    begin = build_model(load_train_recipe("tiny", sets).model).state_dict()
    for name, tensor in begin.items():
        if name.startswith("visual."):
            assert torch.equal(before_and_after[0][f"module.{name}"], tensor), name
    changed = [name for name in begin if not torch.equal(before_and_after[1][f"module.{name}"], begin[name])]
    assert any("running_mean" in name for name in changed)
    assert any(name.startswith("visual.") for name in changed)


def test_killed_at_any_step_and_continued_it_gives_the_same_losses_bit_for_bit(
    data: Path, tmp_path: Path, undisturbed: Path
) -> None:
    for step in (3, 9, 14):
        killed = signalled(command(data, tmp_path / "out"), signal.SIGKILL, step)
        assert warm.run(killed).returncode == -signal.SIGKILL
        assert len(losses(tmp_path / "out")) == step
    assert train(data, tmp_path / "out").returncode == 0
    assert losses(tmp_path / "out") == losses(undisturbed)
    for name, tensor in weights(undisturbed).items():
        assert torch.equal(weights(tmp_path / "out")[name], tensor), name


@pytest.mark.parametrize(
    ("number", "options"), [(signal.SIGTERM, []), (signal.SIGINT, ["--stages", "1"]), (signal.SIGHUP, [])]
)
def test_a_signal_writes_a_checkpoint_and_ends_with_130(
    data: Path, tmp_path: Path, undisturbed: Path, number: signal.Signals, options: list[str]
) -> None:
    done = warm.run(signalled([*command(data, tmp_path / "out"), *options], number, 6))
    assert done.returncode == 130
    assert "stopped" in done.stderr
    position, _ = load_checkpoint(checkpoints(tmp_path / "out")[-1])
    assert position.step == len(losses(tmp_path / "out")) < STEPS / 2
    assert train(data, tmp_path / "out").returncode == 0
    assert losses(tmp_path / "out") == losses(undisturbed)


def test_stages_taken_one_by_one_are_those_of_one_training(data: Path, tmp_path: Path, undisturbed: Path) -> None:
    for stages in (1, 2):
        done = warm.run([*command(data, tmp_path / "out"), "--stages", str(stages)])
        assert done.returncode == 0, done.stderr
        position, _ = load_checkpoint(checkpoints(tmp_path / "out")[-1])
        assert (position.stage, position.step) == (stages, stages * STEPS // 2)
    assert losses(tmp_path / "out") == losses(undisturbed)
    for name, tensor in weights(undisturbed).items():
        assert torch.equal(weights(tmp_path / "out")[name], tensor), name


def test_two_processes_give_the_losses_and_weights_of_one(data: Path, tmp_path: Path) -> None:
    """Both stages, with a ViT: statistics of BatchNorm are those of a rank's own pairs, here as in the reference."""
    vit = {"kind": "vit", "image_size": 64, "patch_size": 16, "width": 32, "layers": 2, "heads": 2}
    alike = {"model.text.dropout": "0.0", "model.vision": json.dumps(vit)}
    for processes in (1, 2):
        done = train(data, tmp_path / str(processes), processes, **alike)
        assert done.returncode == 0, done.stderr
    alone, together = losses(tmp_path / "1"), losses(tmp_path / "2")
    assert len(alone) == STEPS == 20
    assert together == pytest.approx(alone, abs=1e-5)
    for name, tensor in weights(tmp_path / "1").items():
        assert torch.allclose(weights(tmp_path / "2")[name].float(), tensor.float(), atol=1e-4), name


def test_only_pairs_for_which_the_predicate_holds_are_trained_on(data: Path, tmp_path: Path) -> None:
    done = train(data, tmp_path / "out", **{"data.where": json.dumps("clip_score > 0.3 and length(caption) > 4")})
    assert done.returncode == 0, done.stderr
    assert 0 < len(losses(tmp_path / "out")) < STEPS


def test_another_recipe_in_the_same_folder_is_refused(data: Path, undisturbed: Path) -> None:
    done = train(data, undisturbed, seed="7")
    assert done.returncode == 2
    assert "seed: 0 → 7" in done.stderr


def test_mistyped_data_leave_no_folder_behind(tmp_path: Path) -> None:
    done = train(tmp_path / "nodata", tmp_path / "out")
    assert done.returncode == 2
    assert "nodata" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words", [("export", "{file}", "{folder}/out"), ("evaluate", "retrieval", "{file}", "{folder}")]
)
def test_a_file_that_is_no_checkpoint_is_said_in_a_sentence(tmp_path: Path, words: tuple[str, ...]) -> None:
    for name, content, message in (
        ("notes.pt", b"not a checkpoint\n", "notes.pt is no checkpoint, or a damaged one: PyTorch cannot read it"),
        ("missing.pt", None, "missing.pt: no such file or folder"),
    ):
        file = tmp_path / name
        if content is not None:
            file.write_bytes(content)
        done = CliRunner().invoke(app, [word.format(file=file, folder=tmp_path) for word in words])
        assert done.exit_code == 2, done.output
        assert done.stderr == f"zhclip: {tmp_path}/{message}\n"


def test_a_loss_that_is_no_number_is_named_with_its_step(data: Path, tmp_path: Path) -> None:
    stage = [{"name": "hot", "epochs": 9, "batch_size": 16, "learning_rate": 1e30, "warmup": 0}]
    done = train(data, tmp_path / "out", stages=json.dumps(stage))
    assert done.returncode == 1
    assert "the loss is nan" in done.stderr
    assert "step " in done.stderr
    assert "Traceback" not in done.stderr


def test_half_precision_and_gradient_caching_train_too(data: Path, tmp_path: Path) -> None:
    stage = [{"name": "cached", "epochs": 2, "batch_size": 32, "chunk_size": 8, "learning_rate": 1e-3, "warmup": 1}]
    done = train(data, tmp_path / "out", stages=json.dumps(stage), precision="bfloat16")
    assert done.returncode == 0, done.stderr
    by_step = losses(tmp_path / "out")
    assert len(by_step) == 4
    assert all(math.isfinite(loss) for loss in by_step)


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP, which torch has on Linux, prints its settings")
@pytest.mark.parametrize("module", [["trainer"], ["zhclip", "train"]])
def test_threads_sleep_while_they_wait_for_one_another(tmp_path: Path, module: list[str]) -> None:
    asked = [sys.executable, "-m", *module, "tiny", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}

    def settings(**given: str) -> str:
        environment = inherited | {"OMP_DISPLAY_ENV": "VERBOSE"} | given
        done = subprocess.run(asked, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
        assert "no published pairs here" in done.stderr
        return done.stderr

    assert "OMP_WAIT_POLICY = 'PASSIVE'" in settings()
    assert "OMP_WAIT_POLICY = 'ACTIVE'" in settings(OMP_WAIT_POLICY="ACTIVE")  # who knows better is obeyed
