"""`zhclip recipe files`: what a recipe's globs match now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from zhclip.app import app


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    for name in ("laion/b.parquet", "laion/a.parquet", "wukong/a b.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    sources = {
        "laion": {"kind": "laion", "files": [f"{tmp_path}/laion/*.parquet"]},
        "wukong": {"kind": "wukong", "files": [f"{tmp_path}/wukong/*.csv"]},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({"sources": sources}), encoding="utf-8")
    return path


def files(recipe: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["recipe", "files", str(recipe), *options])


def test_files_are_listed_source_by_source(recipe: Path) -> None:
    folder = recipe.parent
    listed = {
        "laion": [f"{folder}/laion/a.parquet", f"{folder}/laion/b.parquet"],
        "wukong": [f"{folder}/wukong/a b.csv"],
    }
    assert json.loads(files(recipe, "--json").stdout) == listed
    lines = [f"{source}\t{file}" for source, paths in listed.items() for file in paths]
    assert files(recipe).stdout.splitlines() == lines


def test_overrides_count(recipe: Path) -> None:
    only = f"sources.laion.files=['{recipe.parent}/laion/b.parquet']"
    assert json.loads(files(recipe, "--set", only, "--json").stdout)["laion"] == [f"{recipe.parent}/laion/b.parquet"]


def test_glob_that_matches_nothing_is_named(recipe: Path) -> None:
    done = files(recipe, "--set", "sources.wukong.files=['nowhere/*.csv']")
    assert done.exit_code == 2
    assert "nowhere/*.csv matches no file" in done.output
