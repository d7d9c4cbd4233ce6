"""Which folders are served as runs: a run, runs below a folder, links, and what stands beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundation.config import parse
from pipeline.recipe import Recipe
from pipeline.serve.runs import NoSuchRun, RunIndex
from pipeline.stages.opening import open_run

RECIPE = "name: small\nsources: {wukong: {kind: wukong, files: [wukong.csv]}}\n"


def make_run(folder: Path) -> Path:
    open_run(folder, parse(Recipe, RECIPE, "small.yaml"))
    return folder


def test_a_run_and_a_folder_of_runs(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "second")
    make_run(tmp_path / "runs" / "first")
    (tmp_path / "runs" / "no run").mkdir()
    assert RunIndex(tmp_path / "runs").names() == ["first", "second"]
    assert RunIndex(tmp_path / "runs" / "first").names() == ["first"]
    assert RunIndex(tmp_path / "runs" / "first").get("first").run.folder == tmp_path / "runs" / "first"


def test_a_stray_recipe_beside_the_runs_does_not_hide_them(tmp_path: Path) -> None:
    first = make_run(tmp_path / "runs" / "first")
    (tmp_path / "runs" / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    index = RunIndex(tmp_path / "runs")
    assert index.names() == ["first"]
    assert index.get("first").run.folder == first
    with pytest.raises(NoSuchRun):
        index.get("runs")


def test_a_link_that_stays_inside_is_a_run(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "archive" / "old")
    (tmp_path / "runs" / "latest").symlink_to(tmp_path / "runs" / "archive" / "old")
    index = RunIndex(tmp_path / "runs")
    assert index.names() == ["latest"]
    assert index.get("latest").run.recipe.name == "small"


def test_a_link_that_leaves_the_folder_is_listed_with_the_reason_and_not_read(tmp_path: Path) -> None:
    make_run(tmp_path / "elsewhere")
    make_run(tmp_path / "runs" / "first")
    (tmp_path / "runs" / "linked").symlink_to(tmp_path / "elsewhere")
    index = RunIndex(tmp_path / "runs")
    first, linked = index.runs()
    assert (first.name, first.problem) == ("first", "")
    assert linked.name == "linked" and linked.live_run is None and "symbolic link" in linked.problem
    with pytest.raises(NoSuchRun):
        index.get("linked")
