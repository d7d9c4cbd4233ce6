"""Which files a refresh takes, without Airflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.recipe import load_recipe
from pipeline.stages.registry import STAGES
from zhclip_tasks.refresh import TakenTwice, claim, claimed_files, new_files, previous, read_taken, record

RECIPE: dict[str, Any] = {
    "name": "two",
    "sources": {
        "laion": {"kind": "laion", "files": ["in/*.parquet"], "min_score": 0.3},
        "wukong": {"kind": "wukong", "files": ["in/*.csv"]},
    },
}


def test_only_what_no_refresh_has_taken_is_new() -> None:
    taken = {"2026-01-01": {"laion": ["a"]}, "2026-02-01": {"laion": ["b"], "wukong": ["c"]}}
    assert new_files({"laion": ["a", "b", "d"], "wukong": ["c"]}, taken) == {"laion": ["d"]}
    assert new_files({"laion": ["c"]}, taken) == {"laion": ["c"]}  # the same file in another source
    assert new_files({"laion": ["a"], "wukong": []}, taken) == {}
    assert new_files({"laion": ["a"]}, {}) == {"laion": ["a"]}


def test_claimed_recipe_is_one_that_zhclip_reads(tmp_path: Path) -> None:
    name = "in/第一 part 'a'.parquet"
    path = claim(tmp_path, "2026-01-01", RECIPE, {"laion": [name], "wukong": []})
    assert path == tmp_path / "2026-01-01.yaml"
    recipe = load_recipe(path)
    assert recipe.sources["laion"].files == (name,)
    assert recipe.sources["laion"].min_score == 0.3
    assert [*recipe.sources] == ["laion"]


def test_files_of_a_refresh_that_failed_are_new_to_the_next(tmp_path: Path) -> None:
    assert claim(tmp_path, "2026-01-01", RECIPE, {"laion": ["a"]})  # and never recorded
    february = claim(tmp_path, "2026-02-01", RECIPE, {"laion": ["a", "b"]})
    assert february and claimed_files(february) == {"laion": ["a", "b"]}


def test_repeated_refresh_keeps_its_files(tmp_path: Path) -> None:
    claim(tmp_path, "2026-01-01", RECIPE, {"laion": ["a"]})
    again = claim(tmp_path, "2026-01-01", RECIPE, {"laion": ["a", "later"]})
    assert again and claimed_files(again) == {"laion": ["a"]}
    record(tmp_path, "2026-01-01")
    after = claim(tmp_path, "2026-01-01", RECIPE, {"laion": ["a", "later"]})
    assert after == again
    record(tmp_path, "2026-01-01")
    assert read_taken(tmp_path) == {"2026-01-01": {"laion": ["a"]}}


def test_nothing_new_leaves_nothing_behind(tmp_path: Path) -> None:
    claim(tmp_path, "2026-01-01", RECIPE, {"laion": ["a"]})
    record(tmp_path, "2026-01-01")
    assert claim(tmp_path, "2026-02-01", RECIPE, {"laion": ["a"]}) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2026-01-01.yaml", "taken.json"]


def test_files_are_never_published_twice(tmp_path: Path) -> None:
    claim(tmp_path, "2026-01-01", RECIPE, {"laion": ["a"]})  # fails, and is repeated after February has taken its files
    claim(tmp_path, "2026-02-01", RECIPE, {"laion": ["a", "b"]})
    record(tmp_path, "2026-02-01")
    with pytest.raises(
        TakenTwice, match=r"2026-01-01.yaml names what a later refresh has published, such as a .*: remove"
    ):
        claim(tmp_path, "2026-01-01", RECIPE, {"laion": ["a"]})
    with pytest.raises(TakenTwice):
        record(tmp_path, "2026-01-01")
    assert [*read_taken(tmp_path)] == ["2026-02-01"]


def test_state_is_plain_text_that_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("2026-01-01", "2026-02-01"):
        claim(tmp_path, name, RECIPE, {"laion": [name]})
    record(tmp_path, "2026-01-01")
    before = (tmp_path / "taken.json").read_text(encoding="utf-8")
    assert json.loads(before) == {"2026-01-01": {"laion": ["2026-01-01"]}}
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr("os.fsync", _no_space)
        record(tmp_path, "2026-02-01")
    assert (tmp_path / "taken.json").read_text(encoding="utf-8") == before


def test_a_refresh_is_compared_with_the_one_before_it(tmp_path: Path) -> None:
    assert previous(tmp_path, "2026-01-01") is None
    for name in ("2026-01-01", "2026-03-01"):
        claim(tmp_path, name, RECIPE, {"laion": [name]})
        record(tmp_path, name)
    assert previous(tmp_path, "2026-02-01") == "2026-01-01"
    assert previous(tmp_path, "2026-04-01") == "2026-03-01"


def test_claimed_recipe_holds_the_whole_of_the_others_values(tmp_path: Path) -> None:
    shown = yaml.safe_load(Path("demo/recipes/demo.yaml").read_text(encoding="utf-8"))
    path = claim(tmp_path, "2026-01-01", shown, {"wukong": ["w.csv"], "laion": ["l.parquet"]})
    assert path
    full, narrow = load_recipe("demo/recipes/demo.yaml"), load_recipe(path)
    for stage in ("download", "score", "select", "publish"):
        assert STAGES[stage].inputs(full) == STAGES[stage].inputs(narrow)


def _no_space(_: int) -> None:
    raise OSError("no space left")
