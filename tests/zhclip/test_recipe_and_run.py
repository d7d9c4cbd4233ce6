"""Which word of `zhclip curate` and of the stage commands is the recipe, and which the run's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundation.errors import InvalidInput
from zhclip.words import recipe_and_run

RUN = Path("runs/first")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An existing run whose name ends in .yaml, and a recipe whose name does not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").mkdir()
    (tmp_path / "recipe").touch()


@pytest.mark.parametrize(
    "words, option, recipe, run",
    [
        (["r.yaml", "runs/first"], None, "r.yaml", RUN),
        (["r.yaml", "runs/first"], RUN, "r.yaml", RUN),
        (
            ["r.yaml", "runs/first"],
            RUN.absolute,  # the same folder, spelt otherwise
            "r.yaml",
            RUN,
        ),
        (["r.yaml"], RUN, "r.yaml", RUN),
        (["r.yml"], RUN, "r.yml", RUN),
        (["builtin:paper"], RUN, "builtin:paper", RUN),
        (["recipe"], RUN, "recipe", RUN),  # a file, so it is no run
        (["recipe", "runs/first"], None, "recipe", RUN),
        (["anything", "runs/first"], None, "anything", RUN),  # of two words the first is the recipe, whatever its name
        (["runs/first"], None, None, RUN),
        (["runs/first"], RUN, None, RUN),
        (["run.yaml"], None, None, Path("run.yaml")),  # a folder, so it is no recipe
        (["r.yaml", "run.yaml"], None, "r.yaml", Path("run.yaml")),
        ([], RUN, None, RUN),
    ],
)
def test_recipe_and_run_are_told_apart(words: list[str], option: object, recipe: str | None, run: Path) -> None:
    given = option() if callable(option) else option
    assert recipe_and_run(words, given, "plan") == (recipe, str(run))


@pytest.mark.parametrize(
    "words, option, message",
    [
        ([], None, "which run? Name it: zhclip plan RECIPE RUN, where RUN is a new folder or that of a run"),
        (["r.yaml"], None, "which run?"),
        (["builtin:paper"], None, "which run?"),
        (["runs/first"], Path("runs/second"), "two folders of a run: runs/first, and runs/second as --run; name one"),
        (["r.yaml", "runs/first"], Path("runs/second"), "two folders of a run"),
        (["runs/first", "r.yaml"], None, "the recipe comes first: zhclip plan r.yaml runs/first"),
        (["r.yaml", "runs/first", "more"], None, "found 3 words: r.yaml runs/first more"),
    ],
)
def test_what_cannot_be_told_apart_is_refused_with_what_to_do(
    words: list[str], option: Path | None, message: str
) -> None:
    with pytest.raises(InvalidInput) as raised:
        recipe_and_run(words, option, "plan")
    assert message in str(raised.value)
