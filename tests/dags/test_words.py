"""The words of each command, without Airflow: they have to be what zhclip's command line takes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from zhclip.app import app
from zhclip_tasks import words

SETTINGS: dict[str, Any] = {
    "recipe": "my recipe; rm -rf x.yaml",
    "run": "/runs/a b",
    "overrides": ["sources.laion.min_score=0.3", 'sources.laion.files=["a b.parquet"]'],
    "workers": None,
    "beam_options": [],
    "policy": None,
    "against": None,
    "report": None,
    "preset": "tiny",
    "training": "/runs/a b-training",
    "training_overrides": [],
    "evaluation_set": None,
    "evaluation_split": None,
}


def settings(**more: Any) -> dict[str, Any]:
    return {**SETTINGS, **more}


def test_each_value_is_one_word() -> None:
    command = words.stage_words("plan", settings(workers=4, beam_options=["--runner=FlinkRunner", "--parallelism=2"]))
    assert command == [
        *("plan", "my recipe; rm -rf x.yaml", "--run", "/runs/a b", "--workers", "4"),
        *("--set", "sources.laion.min_score=0.3", "--set", 'sources.laion.files=["a b.parquet"]'),
        *("--", "--runner=FlinkRunner", "--parallelism=2"),
    ]


def test_what_is_left_out_is_left_to_zhclip() -> None:
    assert "--workers" not in words.stage_words("plan", SETTINGS)
    assert words.check_words(SETTINGS) == ["check", "/runs/a b"]
    assert words.check_words(settings(policy="p.yaml", against="/runs/old")) == [
        *("check", "/runs/a b", "--policy", "p.yaml", "--against", "/runs/old")
    ]
    assert words.report_words(SETTINGS) == ["report", "/runs/a b"]
    assert words.report_words(settings(report="r.html")) == ["report", "/runs/a b", "--out", "r.html"]
    assert words.evaluate_words(SETTINGS) is None


def test_a_run_may_lie_at_an_address() -> None:
    at = settings(run="s3://bucket/runs/first")
    assert words.report_words(at) == ["report", "s3://bucket/runs/first"]
    assert words.train_words(1, at)[1:3] == ["--data", "s3://bucket/runs/first/dataset"]


def test_newest_checkpoint_is_evaluated(tmp_path: Path) -> None:
    for step in (900, 1000, 80):
        (tmp_path / f"checkpoint-{step:08d}.pt").touch()
    command = words.evaluate_words(
        settings(training=str(tmp_path), evaluation_set="data/MUGE", evaluation_split="valid")
    )
    newest = str(tmp_path / "checkpoint-00001000.pt")
    assert command == ["evaluate", "retrieval", newest, "data/MUGE", "--split", "valid", "--json"]


def test_training_that_left_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        words.evaluate_words(settings(training=str(tmp_path), evaluation_set="data/MUGE"))


@pytest.mark.parametrize(
    "command",
    [
        *(words.stage_words(stage, SETTINGS) for stage in words.STAGES),
        words.recipe_words("show", SETTINGS),
        words.recipe_words("files", SETTINGS),
        words.check_words(settings(policy="p.yaml", against="old")),
        words.report_words(settings(against="old")),
        ["train", *words.train_words(1, settings(training_overrides=["seed=1"]))],
        ["evaluate", "retrieval", "c.pt", "set", "--split", "valid", "--json"],
    ],
    ids=lambda command: shlex.join(command[:2]),
)
def test_zhclip_takes_these_options(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails for the recipe or run that is missing, not for an option or a command that it does not know."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [word.replace("/runs/", "runs/") for word in command])
    assert done.exit_code in (1, 2), done.output
    assert "Usage:" not in done.output
    assert "No such" not in done.output


@pytest.mark.parametrize(
    "translation, wanted",
    [({"model": "demo/marian-tiny"}, True), ({"model": None, "files": ["zh.json"]}, False), (None, False)],
)
def test_translation_is_wanted_where_a_source_has_a_model(translation: Any, wanted: bool) -> None:
    assert words.has_translation({"sources": {"laion": {}, "coco": {"translation": translation}}}) is wanted
