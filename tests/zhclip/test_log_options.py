"""`--log-format` and `--log-level` of every command, before or after it: with JSON nothing else is on stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from foundation.log import FORMAT_VARIABLE, LEVEL_VARIABLE, configure
from tests.support.paths import REPOSITORY
from tests.support.published import write_published
from zhclip.app import app
from zhclip.console import log_options_first

FAULT = """
import sys, warnings
import pipeline.recipe.builtin
def fault():
    warnings.warn("of a library")
    raise ValueError("of no use")
pipeline.recipe.builtin.builtin_names = fault
from zhclip.__main__ import main
sys.argv = ["zhclip", "recipe", "list", "--log-format=json"]
main()
"""


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (FORMAT_VARIABLE, LEVEL_VARIABLE):
        monkeypatch.setenv(name, "")  # so that it is put back, whatever a command writes
        monkeypatch.delenv(name)
    yield
    configure("text", "warning")


def start(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    "words, expected",
    [
        (["status", "run", "--log-format", "json"], ["--log-format", "json", "status", "run"]),
        (["plan", "--log-level=info", "run"], ["--log-level=info", "plan", "run"]),
        (["plan", "run", "--", "--log-level=info"], ["plan", "run", "--", "--log-level=info"]),
        (["--log-format", "json", "status"], ["--log-format", "json", "status"]),
        (["status", "--log-format"], ["--log-format", "status"]),
    ],
)
def test_options_of_the_log_may_follow_the_command(words: list[str], expected: list[str]) -> None:
    assert log_options_first(words) == expected


@pytest.mark.parametrize(
    "words, message",
    [
        (["train", "nowhere.yaml", "--out", "out"], "no such preset or file"),
        (["status", "nowhere"], "is not a run folder"),
        (["evaluate", "retrieval", "nowhere.pt", "data"], "no such file or folder"),
        (["status", "nowhere", "--jsn"], "No such option"),
        (["train", "tiny"], "Missing option"),
        (["stats", "nowhere"], "No such command"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_an_error_is_one_object_wherever_the_option_stands(words: list[str], message: str, first: bool) -> None:
    options = ["--log-format", "json"]
    done = CliRunner().invoke(app, [*options, *words] if first else [*words, *options])
    assert done.exit_code == 2, done.output
    (event,) = events(done.stderr)
    assert (event["level"], message in event["message"]) == ("error", True), event


def test_the_environment_holds_for_a_wrong_word_before_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORMAT_VARIABLE, "json")
    done = CliRunner().invoke(app, ["--bogus"])
    (event,) = events(done.stderr)
    assert (done.exit_code, "No such option" in event["message"]) == (2, True)
    monkeypatch.setenv(LEVEL_VARIABLE, "loud")
    done = CliRunner().invoke(app, ["status", "run"])
    assert done.exit_code == 2
    assert "log level 'loud': expected one of" in done.stderr


@pytest.mark.slow
def test_torchrun_s_entry_logs_as_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORMAT_VARIABLE, "json")
    for words, message in ((["tiny"], "Missing option"), (["nothing.yaml", "--out", "x"], "no such preset or file")):
        done = start("-m", "trainer", *words)
        (event,) = events(done.stderr)
        assert (done.returncode, message in event["message"]) == (2, True), event
    monkeypatch.setenv(FORMAT_VARIABLE, "xml")
    done = start("-m", "trainer", "tiny", "--out", "x")
    assert (done.returncode, done.stderr) == (2, "zhclip: log format 'xml': expected one of text, json\n")


@pytest.mark.slow
def test_a_training_logs_its_steps(tmp_path: Path) -> None:
    data = write_published(tmp_path / "dataset", 24)
    stage = [{"name": "short", "steps": 2, "batch_size": 8, "learning_rate": 1e-3, "warmup": 1}]
    sets = {"data.workers": 0, "log_every": 1, "precision": "float32", "stages": json.dumps(stage)}
    options = [part for name, value in sets.items() for part in ("--set", f"{name}={value}")]
    words = ["-m", "zhclip", "train", "tiny", "--data", data, "--out", tmp_path / "out", *options]
    done = start(*words, "--log-format", "json", "--log-level", "info")
    assert done.returncode == 0, done.stderr
    lines = events(done.stderr)
    steps = [line for line in lines if line["message"] == "step"]
    assert [(line["stage"], line["step"], line["pairs_seen"]) for line in steps] == [("short", 1, 8), ("short", 2, 16)]
    assert all(line["loss"] > 0 for line in steps)
    assert lines[-1]["ended"] == "done"
    assert any(line.get("pairs") == 24 for line in lines)


@pytest.mark.slow
def test_a_warning_and_a_fault_are_objects_too() -> None:
    done = start("-c", FAULT)
    assert done.returncode == 1
    warning, fault = events(done.stderr)
    assert (warning["logger"], warning["level"]) == ("py.warnings", "warning")
    assert (fault["level"], fault["message"]) == ("critical", "ValueError: of no use")
    assert "Traceback" in fault["traceback"]


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--log-format", "json"]])
def test_beam_says_nothing_of_its_own_while_options_are_checked(options: list[str]) -> None:
    done = start("-m", "zhclip", "retry", "nowhere", *options, "--", "--parallelsm=3")
    assert done.returncode == 2
    message = "Beam has no option --parallelsm; did you mean --parallelism?"
    assert (
        [event["message"] for event in events(done.stderr)] == [message]
        if options
        else (done.stderr == f"zhclip: {message}\n")
    )
