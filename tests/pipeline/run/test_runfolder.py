from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from pipeline.recipe import Recipe
from pipeline.run.attempt import begin_attempt
from pipeline.run.folder import Run
from pipeline.run.lease import drive
from pipeline.run.ledger import write_ledger
from pipeline.run.manifest import RunError
from pipeline.stages.base import lost_keys
from pipeline.stages.opening import open_run, read_run, run_of


def recipe(**changes: object) -> Recipe:
    source = {"kind": "wukong", "files": ["x.csv"], "min_score": changes.pop("min_score", 0.26)}
    return Recipe.model_validate({"sources": {"wukong": source}, **changes})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(tmp_path / "run", recipe())[0]


def commit(run: Run, content: bytes, stage: str = "select") -> bool:
    with begin_attempt(run, stage, "000000") as attempt:
        attempt.output(".parquet").write_bytes(content)
        return attempt.commit({"out": len(content)})


def test_a_commit_names_its_files_with_size_and_hash(run: Run) -> None:
    assert commit(run, b"abc")
    manifest = run.manifest("select", "000000")
    assert manifest is not None
    assert manifest.files == {
        "select/000000-ba7816bf8f01.parquet": {
            "bytes": 3,
            "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        }
    }
    assert manifest.counts == {"out": 3}
    assert not list((run.folder / ".attempts").iterdir())


def content(run: Run, stage: str = "select") -> bytes:
    """Of the shard that `commit` makes."""
    return run.storage.read(run.file(stage, "000000"))


def test_of_two_attempts_the_first_wins(run: Run) -> None:
    assert commit(run, b"first")
    assert not commit(run, b"second")
    assert content(run) == b"first"


def test_racing_attempts_leave_one_winner_and_no_mixture(run: Run) -> None:
    contents = [bytes([number]) * 1000 for number in range(16)]
    won: list[bytes] = []
    threads = [threading.Thread(target=lambda c=c: won.append(c) if commit(run, c) else None) for c in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert content(run) == won[0]


def test_an_attempt_that_fails_leaves_nothing(run: Run) -> None:
    with pytest.raises(ZeroDivisionError), begin_attempt(run, "select", "000000") as attempt:
        (attempt.folder / "half").write_bytes(b"x")
        raise ZeroDivisionError
    assert run.manifest("select", "000000") is None
    assert not list((run.folder / ".attempts").iterdir())


def test_a_run_continues_with_its_recipe(tmp_path: Path) -> None:
    first, _ = open_run(tmp_path / "run", recipe())
    commit(first, b"x")
    again, changes = open_run(tmp_path / "run", recipe())
    assert changes == []
    assert again.manifest("select", "000000") is not None
    assert read_run(tmp_path / "run").recipe == recipe()


def test_a_new_threshold_empties_select_and_publish_only(tmp_path: Path) -> None:
    first, _ = open_run(tmp_path / "run", recipe())
    for stage in ("score", "select", "publish"):
        commit(first, b"x", stage)
    run, changes = open_run(tmp_path / "run", recipe(min_score=0.3))
    assert changes == ["sources.wukong.min_score: 0.26 → 0.3"]
    assert run.manifest("score", "000000") is not None
    assert run.manifest("select", "000000") is None
    assert not list(run.storage.list("publish/"))


def test_a_change_of_what_was_downloaded_is_refused_and_named(tmp_path: Path) -> None:
    first, _ = open_run(tmp_path / "run", recipe())
    commit(first, b"x", "download")
    with pytest.raises(RunError, match=r"download\.image_size: 224 → 336"):
        open_run(tmp_path / "run", recipe(download={"image_size": 336}))
    assert read_run(tmp_path / "run").manifest("download", "000000") is not None


def test_a_folder_with_other_things_in_it_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match="not empty"):
        open_run(tmp_path, recipe())
    with pytest.raises(RunError, match="not a run folder"):
        read_run(tmp_path)


def test_a_manifest_says_nothing_that_differs_between_equal_runs(tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        run, _ = open_run(tmp_path / name, recipe())
        commit(run, b"same")
        texts.append(run.storage.read("select/000000.json").decode())
    assert texts[0] == texts[1]
    assert set(json.loads(texts[0])["versions"]) >= {"zhclip", "pyarrow", "torch"}


def test_a_run_of_another_format_is_refused_by_name(run: Run) -> None:
    (run.folder / "run.json").write_text('{"format": 7}')
    with pytest.raises(RunError, match=r"is a run of format 7; this zhclip works with format 3"):
        read_run(run.folder)
    (run.folder / "run.json").unlink()
    with pytest.raises(RunError, match=r"is a run of format 1"):
        open_run(run.folder, recipe())
    (run.folder / "run.json").write_text("[]")
    with pytest.raises(RunError, match=r"run.json: expected"):
        read_run(run.folder)


def test_a_start_that_was_killed_between_two_writes_is_started_again(run: Run) -> None:
    (run.folder / "recipe.yaml").unlink()
    open_run(run.folder, recipe())
    (run.folder / "recipe.yaml").unlink()
    (run.folder / "run.json").unlink()
    assert open_run(run.folder, recipe())[0].recipe == recipe()


def test_other_metadata_before_anything_was_read_divides_it_anew(run: Run) -> None:
    (run.folder / "layout.json").write_text("{}")
    other = recipe(plan={"split_rows": 5000})
    open_run(run.folder, other)
    assert not (run.folder / "layout.json").exists()


def test_another_recipe_is_refused_while_a_process_works_on_the_run(run: Run) -> None:
    assert commit(run, b"abc")
    before = (run.folder / "recipe.yaml").read_bytes()
    with drive(run.storage):
        open_run(run.folder, recipe())
        with pytest.raises(RunError, match="another process is working on"):
            open_run(run.folder, recipe(min_score=0.3))
    assert (run.folder / "recipe.yaml").read_bytes() == before
    assert run.done("select") == {"000000"}


def test_a_copy_without_hidden_files_is_continued(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "copy", ignore=shutil.ignore_patterns(".*"))
    copy, lines = open_run(tmp_path / "copy", recipe(min_score=0.3))
    assert copy.recipe == recipe(min_score=0.3) and lines


def test_splits_that_were_translated_stay_as_they_were_divided(tmp_path: Path) -> None:
    """Translations are named by the number of their split: with a new file, or one less, they would be those of another."""
    source = {"kind": "table", "files": ["x.csv"], "columns": {"english": "en"}, "translation": {"model": "m"}}

    def translated_recipe(least: int) -> Recipe:
        rules = {"caption_length": {"min": least}}
        return Recipe.model_validate({"sources": {"pairs": {**source, "rules": rules}}})

    run = open_run(tmp_path / "run", translated_recipe(2))[0]
    (run.folder / "layout.json").write_text("{}")
    assert commit(run, b"chinese", "translate")
    open_run(run.folder, translated_recipe(3))
    assert (run.folder / "layout.json").exists()


@pytest.mark.parametrize("damage", ['{"stage": "sel', "{}", "[]", "", "\udcff"])
def test_a_damaged_manifest_is_named(run: Run, damage: str) -> None:
    commit(run, b"abc")
    (run.folder / "select/000000.json").write_bytes(damage.encode(errors="surrogateescape"))
    for use in (lambda: run.manifest("select", "000000"), lambda: run.discard("select")):
        with pytest.raises(RunError, match=r"run/select/000000.json: damaged.*remove it"):
            use()


def test_a_ledger_without_its_manifest_loses_no_pair(run: Run) -> None:
    """As a kill between the two leaves it."""
    row = {"source": "wukong", "file": "x.csv", "row": 0, "key": "0" * 32, "outcome": "failed", "reasons": ["other"]}
    path = run.folder / "ledger/download/000000-0123456789ab.parquet"
    path.parent.mkdir(parents=True)
    write_ledger(path, [{**row, "rows": 1, "stage": "download"}])
    assert len(lost_keys(run, "000000", "plan", "score")) == 0
    with begin_attempt(run, "download", "000000") as attempt:
        attempt.ledger([{**row, "rows": 1, "stage": "download"}])
        attempt.commit({"in": 1, "out": 0})
    assert lost_keys(run, "000000", "plan", "score").to_pylist() == ["0" * 32]


def test_another_order_of_sources_is_another_recipe(tmp_path: Path) -> None:
    """An earlier source wins over a later one in duplicates."""
    sources = {name: {"kind": "wukong", "files": [f"{name}.csv"]} for name in ("a", "b")}
    run, _ = open_run(tmp_path / "run", Recipe.model_validate({"sources": sources}))
    turned = Recipe.model_validate({"sources": dict(reversed(sources.items()))})
    assert open_run(run.folder, turned)[1] == ["order of sources: a, b → b, a"]
    commit(run_of(run.folder, turned), b"x", "filter")
    with pytest.raises(RunError, match=r"reaches its filter stage:\n  order of sources: b, a → a, b"):
        open_run(run.folder, run.recipe)
