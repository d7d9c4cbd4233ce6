"""The step that translates English captions: real files, a small MarianMT model, a process killed in the middle."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from itertools import permutations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.inspect.status import stage_progress
from pipeline.recipe import Recipe
from pipeline.run.folder import Run
from pipeline.run.manifest import RunError
from pipeline.runners.driver import run_stages
from pipeline.stages.layout import make_layout
from pipeline.stages.opening import open_run
from pipeline.stages.registry import STAGES
from pipeline.stages.translate import load_translator
from pipeline.stages.translate import stage as translate_step
from pipeline.stages.translate.marian import Translator
from pipeline.stages.translate.stage import translated
from tests.pipeline.stages.translate.marian_checkpoint import ENGLISH, write_marian
from tests.support.paths import file_of

WORDS = ("white", "cat", "window", "red", "car")
TEXTS = [" ".join(words) for words in permutations(WORDS, 4)]  # 120 distinct texts of equal length
PART = 8


pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and two metadata files of different sizes."""
    root = tmp_path_factory.mktemp("translate")
    write_marian(root / "opus-tiny")
    write_metadata(root / "a.parquet", [*ENGLISH, None, "blue sky", "  "])
    write_metadata(root / "b.parquet", TEXTS)
    return root


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translate_step, "PART_TEXTS", PART)


def write_metadata(path: Path, english: list[str | None]) -> None:
    urls = [f"http://images.example/{path.stem}/{number}.jpg" for number in range(len(english))]
    pq.write_table(pa.table({"url": urls, "text_en": pa.array(english, pa.string())}), path, row_group_size=7)


def recipe(folder: Path, files: str = "*.parquet", **changes: Any) -> Recipe:
    model = {"model": str(folder / "opus-tiny"), "dtype": "float32", "max_tokens": 64, "beams": 1, "device": "cpu"}
    source = {
        "kind": "table",
        "files": [str(folder / files)],
        "columns": {"url": "url", "english": "text_en"},
        "translation": {**model, **changes.pop("translation", {})},
        **changes.pop("source", {}),
    }
    return Recipe.model_validate({"sources": {"pictures": source}, "plan": {"shard_size": 1000}, **changes})


def translate(run: Run, stages: tuple[str, ...] = ("translate",)) -> None:
    run_stages(run, stages, 1, [], lambda *_: None)


def contents(run: Run) -> dict[str, bytes]:
    """All files of the step, but for those that begin with a dot."""
    return {path.name: path.read_bytes() for path in (run.folder / "translate").glob("[!.]*")}


def test_each_text_of_each_row_is_translated_in_place(folder: Path, tmp_path: Path) -> None:
    run, _ = open_run(tmp_path / "run", recipe(folder))
    translate(run)
    table = translated(run, "000000")
    assert table is not None and table.schema.equals(translate_step.SCHEMA)
    assert table["row"].to_pylist() == list(range(9))
    translator = load_translator(run.recipe.sources["pictures"].translation)  # type: ignore[union-attr, arg-type]
    expected = [*translator.translate(ENGLISH), None, translator.translate(["blue sky"])[0], None]
    assert table["chinese"].to_pylist() == [[text] for text in expected]
    manifest = run.manifest("translate", "000001")
    assert manifest is not None and manifest.counts["translator"] == translator.identity
    assert (manifest.counts["in"], manifest.counts["texts"], manifest.counts["source"]) == (120, 120, "pictures")
    assert translated(run, "000001")["row"].to_pylist() == list(range(120))  # type: ignore[index]


def test_the_plan_takes_the_translations(folder: Path, tmp_path: Path) -> None:
    rules = {"rules": {"caption_length": {"min": 2}, "translation": {}}}
    run, _ = open_run(tmp_path / "run", recipe(folder, "a.parquet", source=rules))
    with pytest.raises(RunError, match=r"the read stage needs all of the translate stage: run `zhclip translate`"):
        translate(run, ("plan",))
    translate(run, ("translate", "plan"))
    rows = pq.read_table(file_of(run, "plan", "000000"), columns=["english", "caption"]).to_pylist()
    chinese = {row["english"]: row["caption"] for row in rows}
    assert chinese["blue sky"] == "蓝天"
    assert set(chinese) <= set(ENGLISH)
    assert [progress.stage for progress in stage_progress(run)][:2] == ["translate", "read"]


def test_a_killed_process_is_continued_with_the_same_bytes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, _ = open_run(tmp_path / "undisturbed", recipe(folder))
    translate(undisturbed)
    run, _ = open_run(tmp_path / "killed", recipe(folder))
    _kill_in_second_shard(run)
    left = sorted((run.folder / "translate/.parts").glob("000001-*/*.parquet"))
    calls: list[int] = []
    original = Translator.translate

    def counted(self: Translator, texts: list[str]) -> list[str]:
        calls.append(len(texts))
        return original(self, texts)

    monkeypatch.setattr(Translator, "translate", counted)
    translate(run)
    assert sum(calls) == len(TEXTS) - PART * len(left)  # nothing that was done is done again
    assert contents(run) == contents(undisturbed)
    assert not list((run.folder / "translate/.parts").glob("*/*"))


def _kill_in_second_shard(run: Run) -> None:
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from pipeline.runners import driver\n"
        "from pipeline.stages.opening import read_run\n"
        "from pipeline.stages.translate import stage as translate_step\n"
        f"translate_step.PART_TEXTS = {PART}\n"
        "run = read_run(sys.argv[1])\n"
        "driver.run_stages(run, ['translate'], 1, [], lambda *step: None)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(run.folder)], stderr=subprocess.PIPE) as process:
        while process.poll() is None and not list((run.folder / "translate/.parts").glob("000001-*/000001.parquet")):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert run.done("translate") == {"000000"}


def test_parts_do_not_depend_on_the_batches_that_rows_come_in(folder: Path, tmp_path: Path) -> None:
    write_metadata(tmp_path / "b.parquet", TEXTS)
    table = pq.read_table(tmp_path / "b.parquet")
    pq.write_table(table, tmp_path / "b.parquet")  # one row group instead of 18
    parts_by_layout = []
    for root in (folder, tmp_path):
        given = recipe(root, "b.parquet", translation={"model": str(folder / "opus-tiny")})
        run, _ = open_run(tmp_path / f"run-{root.name}", given)
        make_layout(run)
        split = translate_step.read_layout(run).splits[0]
        parts_by_layout.append([rows.tolist() for rows, _ in translate_step._parts(run, split)])
    assert parts_by_layout[0] == parts_by_layout[1]
    assert [len(rows) for rows in parts_by_layout[0]] == [PART] * (120 // PART)


def test_a_run_without_a_model_knows_no_such_step(folder: Path, tmp_path: Path) -> None:
    source = {"kind": "wukong", "files": [str(tmp_path / "w.csv")]}
    (tmp_path / "w.csv").write_text("url,caption\nhttp://images.example/1.jpg,一只白色的猫\n", encoding="utf-8")
    run, _ = open_run(tmp_path / "run", Recipe.model_validate({"sources": {"wukong": source}}))
    seen: list[str] = []
    run_stages(run, ("translate", "plan"), 1, [], lambda step, *_: seen.append(step.name))
    assert seen == ["read", "filter", "plan"]
    assert "translate" not in [progress.stage for progress in stage_progress(run)]
    assert not (run.folder / "translate").exists() and not (run.folder / ".failures" / "translate").exists()
    assert "translate" not in (run.folder / "recipe.yaml").read_text(encoding="utf-8").split("name:")[0]
    assert translated(run, "000000") is None
    files_alone = recipe(folder, translation={"model": None, "files": [str(tmp_path / "w.csv")]})
    assert not STAGES["translate"].enabled(files_alone) and STAGES["translate"].inputs(files_alone) == {}


def test_translations_outlive_a_change_of_rules_but_not_of_the_model(folder: Path, tmp_path: Path) -> None:
    run, _ = open_run(tmp_path / "run", recipe(folder, "a.parquet"))
    translate(run)
    rules = {"rules": {"caption_length": {"min": 3}}}
    changed, lines = open_run(run.folder, recipe(folder, "a.parquet", source=rules, translation={"device": "auto"}))
    assert lines and changed.manifest("translate", "000000") is not None
    for change in ({"beams": 2}, {"simplified": False}, {"model": str(folder)}):
        with pytest.raises(RunError, match="reaches its translate stage"):
            open_run(run.folder, recipe(folder, "a.parquet", source=rules, translation=change))


def test_a_split_that_is_not_translated_is_told(folder: Path, tmp_path: Path) -> None:
    run, _ = open_run(tmp_path / "run", recipe(folder))
    make_layout(run)
    with pytest.raises(RunError, match="split 000001 is not translated yet"):
        translated(run, "000001")
