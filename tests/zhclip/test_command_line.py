"""The command line in process: what every command has in common, and runs whose folder has an unusual name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from typer.testing import CliRunner, Result

from foundation import __version__
from foundation.log import FORMAT_VARIABLE, LEVEL_VARIABLE
from pipeline import Run, curate, status
from pipeline.recipe.builtin import builtin_names
from tests.support.paths import REPOSITORY, ledger_of
from tests.zhclip.recording_runner import RecordingRunner
from tests.zhclip.shop import BROKEN, PICTURES, Shop, open_shop
from zhclip.app import app

ODD = """a [b] it's 50% "two" #1? *"""  # what globs, SQL, urls and markup would read otherwise


def zhclip(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run in a folder with an unusual name, below another that holds the recipe and the metadata."""
    folder = tmp_path_factory.mktemp("runs") / ODD
    folder.mkdir()
    shop = open_shop(folder)
    yield curate(shop.recipe, folder / ODD, workers=2)
    shop.web.close()


def test_version_is_the_source_s() -> None:
    assert zhclip("--version").stdout == f"zhclip {__version__}\n"


def test_starting_costs_no_library_that_only_the_work_needs() -> None:
    code = "import sys, zhclip.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "pipeline.stages.registry" in loaded  # what costs most: recipes, rules and stages
    heavy = {
        "polars",
        "duckdb",
        "fsspec",
        "cv2",
        "pandas",
        "torch",
        "transformers",
        "apache_beam",
        "fastapi",
        "matplotlib",
    }
    assert loaded.isdisjoint(heavy)


def test_shell_completion_can_be_installed() -> None:
    shown = zhclip("--help").stdout
    assert "--install-completion" in shown
    environment = {**os.environ, "_ZHCLIP_COMPLETE": "complete_bash", "COMP_WORDS": "zhclip ver", "COMP_CWORD": "1"}
    code = "import sys; sys.argv = ['zhclip']; from zhclip.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["verify"]


def test_recipes_that_come_with_zhclip_are_listed_and_shown() -> None:
    listed = json.loads(zhclip("recipe", "list", "--json").stdout)
    assert list(listed) == [f"builtin:{name}" for name in builtin_names()]
    assert all(len(text) > 20 for text in listed.values())
    for name in listed:
        assert name in zhclip("recipe", "list").stdout
        shown = zhclip("recipe", "show", name)
        assert shown.exit_code == 0
        assert "sources:" in shown.stdout
    wrong = zhclip("recipe", "show", "builtin:papers")
    assert (wrong.exit_code, "chinese_clip, danqing, paper" in wrong.stderr) == (2, True)


def test_every_reason_of_a_ledger_is_explained(sold: tuple[Shop, Run]) -> None:
    _, run = sold
    explained = {(reason["stage"], reason["code"]) for reason in json.loads(zhclip("reasons", "--json").stdout)}
    assert {("filter", "caption_too_short"), ("download", "http_STATUS"), ("select", "score_too_low")} <= explained
    for row in status(run)["reasons"]:
        (reason,) = json.loads(zhclip("reasons", row["reason"], "--json").stdout)
        assert reason["stage"] == row["stage"]
    table = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["reasons", "http_404"])
    assert "http_STATUS" in table.stdout
    wrong = zhclip("reasons", "score_to_low")
    assert (wrong.exit_code, "did you mean score_too_low?" in wrong.stderr) == (2, True)


def test_a_run_is_named_by_a_word_or_by_an_option(sold: tuple[Shop, Run], tmp_path: Path) -> None:
    shop, _ = sold
    folder = tmp_path / "run"
    for words in (
        ("plan", shop.recipe, folder),
        ("plan", shop.recipe, "--run", folder),
        ("plan", "--run", folder, shop.recipe),
        ("plan", folder),
        ("plan", "--run", folder),
        ("plan", folder, "--run", folder, "--set", "limits.attempts=2"),
    ):
        done = zhclip(*words, "--json")
        assert done.exit_code == 0, (words, done.output)
        assert json.loads(done.stdout)["run"] == str(folder)
    assert "attempts: 2" in (folder / "recipe.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "words, message",
    [
        (("plan",), "which run?"),
        (("curate", "builtin:paper"), "zhclip curate RECIPE RUN"),
        (("plan", "one", "--run", "other"), "two folders of a run: one, and other as --run"),
        (("score", "nowhere"), "nowhere is not a run folder"),
        (("status", os.devnull), f"{os.devnull} is not a run folder"),
        (("curate", "builtin:paper", os.devnull), "cannot be written: Not a directory"),
        (("plan", "builtin:papers", "run"), "there is no such recipe"),
        (("plan", "r.yaml", "run", "--paralellism=2"), "No such option"),  # before `--`: the command's own
        (("retry", "run", "more"), "unexpected extra argument"),
        (("download", "run", "--", "--paralellism=2"), "did you mean --parallelism?"),
        (("curate", "builtin:paper", "run", "--", "--paralellism=2"), "did you mean --parallelism?"),
        (("retry", "run", "--dry-run", "--", "--paralellism=2"), "did you mean --parallelism?"),
        (("status",), "which run? Name it: zhclip status RUN"),
        (("verify", "one", "--run", "other"), "two folders of a run: one, and other as --run"),
        (("sql", "--run", "one", "other", "select 1"), "two folders of a run: other, and one as --run"),
        (("plan", "builtin:paper", "run", "--", "--runner=FlinkRuner"), "no such runner; did you mean `FlinkRunner`?"),
        (("download", "--run", "run", "--", "recipe.yaml"), "'recipe.yaml' is no option of Beam"),
        (("--log-format", "xml", "status", "run"), "--log-format"),
    ],
)
def test_words_that_cannot_be_used_end_with_code_2(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = zhclip(*words)
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []  # nothing was begun


def test_ctrl_c_while_the_command_line_starts_is_no_traceback() -> None:
    code = """
import sys, zhclip.__main__
class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "zhclip.app":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
zhclip.__main__.main()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "zhclip: stopped\n")


@pytest.mark.parametrize("command", ["status", "report"])
def test_a_missing_ledger_file_is_named(command: str, sold: tuple[Shop, Run], tmp_path: Path) -> None:
    shutil.copytree(sold[1].folder, tmp_path / "run")
    ledger = ledger_of(sold[1], "select", "000000").name
    (tmp_path / "run/ledger/select" / ledger).unlink()
    done = zhclip(command, tmp_path / "run")
    assert done.exit_code == 2 and f"ledger/select/{ledger}" in done.stderr, done.output


def test_what_follows_two_dashes_reaches_beam(sold: tuple[Shop, Run], tmp_path: Path) -> None:
    shop, _ = sold
    options = (f"--runner={RecordingRunner.__module__}.RecordingRunner", "--direct_num_workers=3")
    for words in (["plan", shop.recipe, tmp_path / "new"], ["plan", "--run", tmp_path / "known", shop.recipe]):
        RecordingRunner.workers.clear()
        done = zhclip(*words, "--", *options)
        assert done.exit_code == 0, done.output
        assert set(RecordingRunner.workers) == {3}


@pytest.mark.e2e
def test_json_log_leaves_nothing_else_on_stderr(
    sold: tuple[Shop, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (FORMAT_VARIABLE, LEVEL_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    shop, _ = sold
    command = [sys.executable, "-m", "zhclip", "--log-format", "json", "--log-level", "info"]
    done = subprocess.run(
        [*command, "plan", str(shop.recipe), str(tmp_path / "run")], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"read", "filter", "plan"} <= {line.get("stage") for line in lines}
    wrong = subprocess.run([*command, "plan", str(tmp_path / "none")], cwd=REPOSITORY, capture_output=True, text=True)
    (line,) = map(json.loads, wrong.stderr.splitlines())
    assert (wrong.returncode, line["level"]) == (2, "error")
    assert "is not a run folder" in line["message"]


@pytest.mark.e2e
@pytest.mark.parametrize(
    "words, expected",
    [
        (("status", "{run}", "--json"), '"published": {kept}'),
        (("status", "{run}"), "[b]"),
        (("verify", "{run}"), "everything holds"),
        (("sql", "{run}", "select count(*) as n from pairs", "--csv"), "\n{kept}\n"),
        (("sql", "{run}", "--attach", "other={run}", "select count(*) as n from other.pairs", "--csv"), "\n{kept}\n"),
        (("check", "{run}", "--against", "{run}", "--json"), '"run"'),
        (("report", "{run}", "--against", "{run}", "--out", "{out}/r.html"), "done"),
        (("calibrate", "{run}", "--sample", "8", "--out", "{out}", "--json"), '"sources"'),
        (("retry", "{run}", "--dry-run", "--json"), '"http_503": 3'),
        (("curate", "{run}", "--json"), '"run"'),
        (("select", "{run}"), "verify"),
    ],
    ids=lambda part: part[0] if isinstance(part, tuple) else "",
)
def test_run_in_a_folder_with_an_unusual_name(words: tuple[str, ...], expected: str, odd: Run, tmp_path: Path) -> None:
    names = {"{run}": str(odd.folder), "{out}": str(tmp_path), "{kept}": str(PICTURES - BROKEN)}
    filled = []
    for word in (*words, expected):
        for name, text in names.items():
            word = word.replace(name, text)
        filled.append(word)
    done = CliRunner(env={"COLUMNS": "400"}).invoke(app, filled[:-1])
    assert done.exit_code in ((0, 1) if words[0] == "check" else (0,)), done.output + repr(done.exception)
    assert filled[-1] in done.output


@pytest.mark.e2e
@pytest.mark.parametrize(
    "words",
    [
        ("status", "--json"),
        ("verify", "--json"),
        ("check", "--json"),
        ("sql", "select count(*) as n from pairs", "--csv"),
        ("retry", "--dry-run", "--json"),
        ("report", "--out", "{out}"),
    ],
    ids=lambda words: words[0],
)
def test_every_command_takes_the_run_as_an_option(
    words: tuple[str, ...], sold: tuple[Shop, Run], tmp_path: Path
) -> None:
    command, *others = (word.format(out=tmp_path / "report.html") for word in words)
    named, placed = (zhclip(command, *start, *others) for start in (("--run", sold[1].folder), (sold[1].folder,)))
    assert named.exit_code == placed.exit_code != 2, named.output
    assert named.stdout == placed.stdout


@pytest.mark.e2e
def test_images_of_a_run_in_a_folder_with_an_unusual_name_are_fetched_again(shop: Shop, tmp_path: Path) -> None:
    run = curate(shop.recipe, tmp_path / ODD, workers=2)
    done = zhclip("retry", run.folder)
    assert done.exit_code == 0, done.output
    assert f"{BROKEN} of {BROKEN} images came this time" in done.output
    assert zhclip("verify", run.folder).exit_code == 0


@pytest.mark.e2e
def test_service_shows_a_run_in_a_folder_with_an_unusual_name(odd: Run) -> None:
    command = [sys.executable, "-m", "zhclip", "serve", str(odd.folder), "--port", "0"]
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        shown = server.stderr.readline()
        assert ODD in shown
        address = shown.split(" at ")[-1].split()[0]
        page = httpx.get(f"{address}/runs/{quote(ODD, safe='')}/pairs", timeout=60)
        server.terminate()
    assert page.status_code == 200
    assert "张漂亮的图画" in page.text
