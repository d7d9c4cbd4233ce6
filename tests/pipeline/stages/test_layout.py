from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.recipe import Recipe
from pipeline.run.files import write_atomically
from pipeline.run.folder import Run
from pipeline.run.manifest import RunError
from pipeline.stages.layout import make_layout
from pipeline.stages.opening import open_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "a.csv").write_text("url,caption\nhttp://a.example/1,一只小猫在睡觉\n", encoding="utf-8")
    (tmp_path / "removed.txt").write_text("http://a.example/9\n")
    (tmp_path / "words.txt").write_text("特价\n", encoding="utf-8")
    source = {
        "kind": "wukong",
        "files": [str(tmp_path / "*.csv")],
        "removal_lists": [str(tmp_path / "removed.txt")],
        "rules": {"blacklist": {"lists": [str(tmp_path / "words.txt")]}},
    }
    return open_run(tmp_path / "run", Recipe.model_validate({"sources": {"wukong": source}}))[0]


def test_a_layout_is_listed_once_and_then_read(run: Run, tmp_path: Path) -> None:
    first = make_layout(run)
    (tmp_path / "b.csv").write_text("url,caption\n")
    assert make_layout(run) == first
    assert [Path(split.file).name for split in first.splits] == ["a.csv"]


@pytest.mark.parametrize("name", ["removed.txt", "words.txt"])
def test_a_list_that_changed_in_the_middle_of_a_run_is_named(run: Run, tmp_path: Path, name: str) -> None:
    make_layout(run)
    (tmp_path / name).write_text("something else\n")
    with pytest.raises(RunError, match=name):
        make_layout(run)


def test_buckets_of_two_hash_versions_are_not_mixed(run: Run) -> None:
    make_layout(run)
    path = run.folder / "layout.json"
    write_atomically(path, path.read_text().replace('"polars ', '"polars 0.'))
    with pytest.raises(RunError, match=r"was planned with polars 0\."):
        make_layout(run)
