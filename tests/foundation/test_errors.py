"""What a person can act on is one line and an exit code; a fault of the program keeps its traceback."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer

import foundation
import pipeline
import trainer
import zhclip
from foundation.errors import InvalidInput, WorkFailed, ZhclipError
from tests.support.paths import REPOSITORY
from tests.support.published import write_published
from trainer.__main__ import TrainCommand
from zhclip.console import CommandGroup

pytestmark = pytest.mark.slow

# Not for people: how the download and the trainer's loader tell one bad image from a fault, and what a storage repeats.
CONTROL_FLOW = {
    "foundation.failure.Failure",
    "foundation.storage.client.Passing",
    "trainer.data.augment.BrokenImage",
}

FAULTY_TRAINING = """
import numpy as np, sys
import trainer.train
trainer.train.Trainer.run = lambda *_: np.zeros(3) + np.zeros(4)
from zhclip.__main__ import main
main()
"""


def training(work: Callable[[], None]) -> None:
    """Does the work as `python -m trainer`."""
    app = typer.Typer()
    app.command(cls=TrainCommand)(work)
    if code := app([], standalone_mode=False):
        raise typer.Exit(code)


def command_line(work: Callable[[], None]) -> None:
    """Does the work as a command of `zhclip`."""
    app = typer.Typer(cls=CommandGroup)
    app.callback()(lambda: None)
    app.command("work")(work)
    if code := app(["work"], standalone_mode=False):
        raise typer.Exit(code)


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("run", [training, command_line])
@pytest.mark.parametrize(("error", "code"), [(InvalidInput("no such recipe"), 2), (WorkFailed("2 items failed"), 1)])
def test_an_error_for_people_is_one_line_and_its_exit_code(run, error, code, capsys) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(typer.Exit) as ended:
        run(lambda: _raise(error))
    assert ended.value.exit_code == code
    assert capsys.readouterr().err == f"zhclip: {error}\n"


@pytest.mark.parametrize("run", [training, command_line])
def test_a_fault_of_the_program_is_not_taken_for_a_message(run) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="could not be broadcast"):
        run(lambda: np.zeros(3) + np.zeros(4))
    with pytest.raises(FileNotFoundError):
        run(lambda: Path("nowhere").read_bytes())


def test_a_fault_inside_a_training_keeps_its_traceback(tmp_path: Path) -> None:
    data = write_published(tmp_path / "dataset", 8)
    arguments = ["train", "tiny", "--data", str(data), "--out", str(tmp_path / "out"), "--set", "data.workers=0"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FAULTY_TRAINING, *arguments], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "operands could not be broadcast" in done.stderr


def test_every_exception_class_is_for_people_or_named_here() -> None:
    defined = set()
    for package in (foundation, pipeline, trainer, zhclip):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                defined |= set(_exceptions_of(module.name))
    strays = {f"{kind.__module__}.{kind.__name__}" for kind in defined if not issubclass(kind, ZhclipError)}
    assert strays == CONTROL_FLOW


def _exceptions_of(name: str) -> list[type[Exception]]:
    classes = inspect.getmembers(importlib.import_module(name), inspect.isclass)
    return [kind for _, kind in classes if issubclass(kind, Exception) and kind.__module__ == name]
