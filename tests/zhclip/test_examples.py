"""The examples in the help of every command: each parses and names recipes, presets and options that exist; those that only need
a finished run are run."""

from __future__ import annotations

import inspect
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from pipeline import load_recipe
from pipeline.api import check_beam_options
from pipeline.run.folder import Run
from tests.zhclip.shop import Shop
from tools.docs import MARKUP, commands
from trainer.config import load_train_recipe
from zhclip.app import app
from zhclip.words import recipe_and_run

EXAMPLE = re.compile(r"^\s*(?:\w+=\S+ |\w+=\$\(.*?\) )?(?:zhclip|torchrun .*?-m (?=trainer )) ?(.*)$")
ON_A_RUN = ("check", "curate", "reasons", "report", "retry", "sql", "status", "verify")
NEEDS_MORE = re.compile(r"builtin:|s3://| -- |^sql \S+$")  # a network, a cluster, a terminal


def examples() -> Iterator[str]:
    """What follows `zhclip` in each example, without its comment and its redirection."""
    for _, command in commands("zhclip", typer.main.get_command(app)):
        for line in MARKUP.sub("", inspect.cleandoc(command.help or "")).splitlines():
            if match := EXAMPLE.match(line):
                words = shlex.split(match[1].replace("trainer ", "train ", 1), comments=True)
                yield shlex.join(words[: words.index(">")] if ">" in words else words)


EXAMPLES = list(examples())


def parsed(words: list[str]) -> Any:
    """The context of the command that the words are for."""
    command = typer.main.get_command(app)
    context = command.make_context("zhclip", list(words))
    while hasattr(command, "commands"):
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, words, parent=context)
    return context


def test_they_are_seen() -> None:
    assert len(EXAMPLES) > 40 and "check --example" in EXAMPLES


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_parses_and_names_what_exists(example: str) -> None:
    context = parsed(shlex.split(example))
    values = context.params
    if "words" in values:
        recipe, _ = recipe_and_run(values["words"] or [], values.get("run"), context.info_name)
        if recipe and recipe.startswith("builtin:"):
            load_recipe(recipe, values.get("overrides") or [])
        check_beam_options(context.args)
    if context.info_name in ("train", "ablate"):
        load_train_recipe(values["recipe"])


@pytest.fixture(scope="module")
def folder(sold: tuple[Shop, Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs that the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    for name in ("first", "september", "october"):
        shutil.copytree(sold[1].folder, folder / "runs" / name)
    (folder / "policy.yaml").write_text(CliRunner().invoke(app, ["check", "--example"]).stdout, encoding="utf-8")
    return folder


@pytest.mark.e2e
@pytest.mark.parametrize(
    "example", [text for text in EXAMPLES if text.startswith(ON_A_RUN) and not NEEDS_MORE.search(text)]
)
def test_each_that_needs_a_finished_run_alone_ends_well(
    example: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, shlex.split(example))
    assert done.exit_code in ((0, 1) if example.startswith("check runs") else (0,)), done.output + repr(done.exception)
