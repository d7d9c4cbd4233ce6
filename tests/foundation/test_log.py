"""What a worker says: lines for people or JSON, on stderr, with the run, stage and item that they are about."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from foundation.errors import InvalidInput
from foundation.log import FORMAT_VARIABLE, LEVEL_VARIABLE, ROOT, configure, configure_worker, log_item, logger
from pipeline.recipe import load_recipe
from pipeline.runners.driver import run_stages
from pipeline.stages.opening import open_run
from tests.support.paths import REPOSITORY
from zhclip.app import app

WORKER = """
from foundation.log import configure_worker, item_logger
configure_worker()
item_logger("first", "score", "000007").info("begins")
"""
RECIPE = "sources:\n  table:\n    kind: table\n    files: [{}]\n    rules: {{han: null, blacklist: null}}\n"


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is configured, and what a test configures ends with it."""
    for name in (FORMAT_VARIABLE, LEVEL_VARIABLE):
        monkeypatch.setenv(name, "")  # so that it is put back, whatever `configure` writes
        monkeypatch.delenv(name)
    root = logging.getLogger(ROOT)
    handlers, propagate, level = root.handlers, root.propagate, root.level
    yield
    configure("text")  # takes back what JSON changes of the root logger, of warnings and of faults
    root.handlers, root.propagate = handlers, propagate
    root.setLevel(level)


def work(fail: bool = False) -> None:
    with log_item("first", "download", "000012") as log:
        log.fields["out"] = 95
        if fail:
            raise OSError("disk full\nand more lines")


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_people_read_when_an_item_begins_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    configure("text", "info")
    work()
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d info    download first/000012: begins", first)
    assert re.fullmatch(r"\d\d:\d\d:\d\d info    download first/000012: done  out=95 seconds=[\d.]+", second)


def test_machines_read_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    work()
    begins, done = said(capsys)
    about = {"level": "info", "logger": "zhclip.download", "run": "first", "stage": "download", "item": "000012"}
    assert begins.items() >= {**about, "message": "begins"}.items()
    assert done.items() >= {**about, "message": "done", "out": 95}.items()
    assert done["seconds"] >= 0 and done["time"].endswith("+00:00")


def test_an_item_that_fails_is_said_at_any_level_and_its_error_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    with pytest.raises(OSError, match="disk full"):
        work(fail=True)
    (failed,) = said(capsys)
    assert (failed["level"], failed["message"]) == ("error", "failed: OSError: disk full")
    work()
    assert said(capsys) == []


def test_a_line_comes_once_whatever_handlers_libraries_add(capsys: pytest.CaptureFixture[str]) -> None:
    library = logging.StreamHandler()
    logging.getLogger().addHandler(library)
    try:
        configure("json", "info")
        configure("text", "info")
        logger("plan").info("100%% of %d", 3)
    finally:
        logging.getLogger().removeHandler(library)
    assert capsys.readouterr().err.endswith(" info    plan: 100% of 3\n")


def test_the_traceback_of_an_exception_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    for format in ("json", "text"):
        configure(format)
        try:
            raise ValueError("of no use")
        except ValueError:
            logger("serve").exception("went on")
        assert "Traceback" in capsys.readouterr().err


def test_a_process_that_is_started_logs_in_the_same_way() -> None:
    configure("json", "info")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", WORKER], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stderr)["item"] == "000007"


def test_a_worker_that_nobody_configured_leaves_logging_to_the_program(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    root = logging.getLogger(ROOT)
    root.handlers, root.propagate = [logging.NullHandler()], True
    configure_worker()
    with pytest.raises(OSError, match="disk full"):
        work(fail=True)
    assert capsys.readouterr().err == ""
    assert caplog.messages == ["failed: OSError: disk full"]


def test_the_command_line_shows_warnings_unless_it_is_asked_for_more(capsys: pytest.CaptureFixture[str]) -> None:
    CliRunner().invoke(app, ["recipe", "list"])
    logger("trainer").info("not shown")
    logger("trainer").warning("shown")
    CliRunner().invoke(app, ["--log-level", "info", "recipe", "list"])
    logger("trainer").info("shown as well")
    shown = [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert shown == ["warning trainer: shown", "info    trainer: shown as well"]


@pytest.mark.parametrize("options", [{"format": "xml"}, {"level": "loud"}])
def test_a_format_or_level_that_is_none_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match=r"expected one of (text, json|debug, info, warning, error)"):
        configure(**options)


def test_a_run_says_what_its_workers_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("url,caption\nhttp://x.cn/a.jpg,一只白猫坐在窗边\nhttp://x.cn/b.jpg,短\n", encoding="utf-8")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(table), encoding="utf-8")
    run, _ = open_run(tmp_path / "run", load_recipe(recipe))
    configure("json", "info")
    run_stages(run, ["plan"], 1, [], lambda *_: None)
    lines = [line for line in said(capsys) if line["run"] == "run"]
    messages = [(line["stage"], line["message"]) for line in lines]
    for stage in {stage for stage, _ in messages}:
        assert messages.count((stage, "begins")) == messages.count((stage, "done")) == 1
    (read,) = [line for line in lines if (line["stage"], line["message"]) == ("read", "done")]
    assert read["out"] == 2
