"""Which folders are served as runs: a run, runs below a folder, links, and what stands beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from foundation.config import parse
from pipeline.recipe import Recipe
from pipeline.serve.access import Access
from pipeline.serve.app import create_app
from pipeline.serve.render import path
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


def test_a_run_is_served_whatever_its_name(tmp_path: Path) -> None:
    odd = 'odd [a]\'s run? 50% #1 <b> "x"'
    folder = make_run(tmp_path / "runs" / odd)
    make_run(tmp_path / "runs" / ".hidden")
    index = RunIndex(tmp_path / "runs")
    assert index.names() == [odd]
    assert index.get(odd).run.folder == folder
    page = TestClient(create_app(tmp_path / "runs", Access(True, "")), base_url="http://localhost").get(
        path("runs", odd)
    )
    assert page.status_code == 200
    assert "<b>" not in page.text.replace("<bdi>", "")
    for name in (".hidden", "..", "", "../runs", "x" * 300, "a\0b"):
        with pytest.raises(NoSuchRun):
            index.get(name)


def test_a_name_that_cannot_be_shown_is_listed_with_the_reason(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "two\nlines")
    index = RunIndex(tmp_path / "runs")
    (entry,) = index.runs()
    assert (entry.name, entry.live_run) == ("two\\nlines", None)
    assert "rename the folder" in entry.problem
    with pytest.raises(NoSuchRun):
        index.get("two\nlines")


def test_a_link_that_leads_nowhere_is_listed_and_hides_no_run(tmp_path: Path) -> None:
    first = make_run(tmp_path / "runs" / "first")
    (tmp_path / "runs" / "gone").symlink_to(tmp_path / "removed")
    (first / "old").symlink_to(tmp_path / "removed")
    index = RunIndex(tmp_path / "runs")
    _, gone = index.runs()
    assert (gone.name, gone.problem) == ("gone", f"a symbolic link to {tmp_path}/removed, which is not there")
    assert index.names() == ["first"]
    with pytest.raises(NoSuchRun):
        index.get("gone")
    assert RunIndex(first).names() == ["first"]
