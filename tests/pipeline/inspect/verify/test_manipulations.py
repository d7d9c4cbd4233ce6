"""Every manipulation of a finished run is named by `verify`, and none ends in a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from pipeline.inspect.verify import verify_folder
from pipeline.run.folder import Run
from pipeline.runners import retry
from pipeline.stages.opening import read_run
from tests.pipeline.inspect.verify import damage, edited_manifests, forgeries
from tests.pipeline.inspect.verify.cases import CASES, HARMLESS, STAGES
from tests.pipeline.inspect.verify.copies import Copy
from zhclip.app import app

pytestmark = pytest.mark.e2e

ENTERED = damage, edited_manifests, forgeries  # modules whose import enters their cases
QUIET = Console(quiet=True)


@pytest.fixture
def copy(finished: Run, tmp_path: Path) -> Copy:
    return Copy.of(finished.folder, tmp_path / "run")


def zhclip(*words: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "400"}).invoke(app, [str(word) for word in words])


def test_a_sound_copy_holds(copy: Copy) -> None:
    report = verify_folder(copy.folder, QUIET)
    assert (report.problems, report.incomplete, report.exit_code, report.skipped) == ([], "", 0, [])
    assert report.root == copy.json("dataset/manifest.json")["root"]


@pytest.mark.parametrize("name", CASES)
def test_it_is_named(name: str, copy: Copy) -> None:
    CASES[name](copy)
    report = verify_folder(copy.folder, QUIET)
    assert bool(report.problems) == (name not in HARMLESS), report.problems
    assert not [problem for problem in report.problems if "cannot be checked" in problem]
    assert report.exit_code == (0 if name in HARMLESS else 1)


@pytest.mark.parametrize("kind", ["brace", "truncated", "empty", "unknown name", "other kinds"])
@pytest.mark.parametrize("stage", STAGES)
def test_status_and_report_name_a_damaged_manifest_in_a_sentence(kind: str, stage: str, copy: Copy) -> None:
    CASES[f"manifest of {stage}: {kind}"](copy)
    for command in ("status", "report"):
        done = zhclip(command, copy.folder)
        assert done.exit_code == 2, done.output
        assert copy.manifest(stage, "000000") in done.stderr and "no manifest of a shard" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_consistent_edit_shows_against_the_root_that_was_noted(copy: Copy) -> None:
    root = verify_folder(copy.folder, QUIET).root
    copy.edit_counts("filter", "000000", lambda counts: counts.update(note=1))  # what no other check looks at
    copy.seal()
    sealed = verify_folder(copy.folder, QUIET)
    assert sealed.problems == [] and sealed.root != root
    done = zhclip("verify", copy.folder, "--root", root)
    assert done.exit_code == 1 and f"root {root} was expected; the run's is {sealed.root}" in done.stdout
    assert zhclip("verify", copy.folder, "--root", sealed.root).exit_code == 0


@pytest.mark.parametrize(
    "stage, expected",
    [
        ("publish", "publish 0 of 4 shards"),
        ("select", "select 0 of 6 shards"),
        ("download", "download 0 of 6 shards"),
        ("read", "read 0 of 6 shards"),
    ],
)
def test_an_incomplete_run_is_called_incomplete(stage: str, expected: str, copy: Copy) -> None:
    run = read_run(copy.folder)
    for later in reversed(list(run.stages)[list(run.stages).index(stage) :]):
        run.discard(later)
    done = zhclip("verify", copy.folder)
    assert (done.exit_code, f"not complete: {expected}" in done.stdout) == (3, True), done.output
    assert "what is there holds" in done.stdout
    content = json.loads(zhclip("verify", copy.folder, "--json").stdout)
    assert (content["incomplete"], content["problems"], content["root"]) == (expected, [], "")
    wanted = zhclip("verify", copy.folder, "--root", "0" * 64)
    assert wanted.exit_code == 1 and "a run has a root once it is complete" in wanted.stdout


def test_a_run_in_the_middle_of_something_is_incomplete_and_no_more(copy: Copy) -> None:
    run = read_run(copy.folder)
    run.discard("publish", shards={"000001"})  # killed while a new limit was applied, say
    report = verify_folder(copy.folder, QUIET)
    assert (report.incomplete, report.problems) == ("publish 3 of 4 shards", [])
    copy.write("dataset/000001.tar", b"moved into place; the process was killed before it wrote the manifest")
    assert verify_folder(copy.folder, QUIET).problems == []
    copy.remove("dataset/000001.tar")
    retry.prepare(run, retry.find(run, ["http_404"], 0))
    report = verify_folder(copy.folder, QUIET)
    assert report.incomplete.startswith("download ") and report.problems == []


def test_without_its_published_folder_a_run_is_incomplete(copy: Copy) -> None:
    copy.remove("dataset")
    copy.remove("publish")
    report = verify_folder(copy.folder, QUIET)
    assert (report.incomplete, report.problems, report.exit_code) == ("publish 0 of 4 shards", [], 3)


def test_a_sample_reads_some_tars_and_everything_else(copy: Copy) -> None:
    for shard in ("000000", "000001", "000002", "000003"):
        copy.flip(copy.file("publish", ".tar", shard), 5000)
    assert len(verify_folder(copy.folder, QUIET).problems) == 2 * 4
    for sample, read in ((1.0, 1), (2.0, 2), (0.5, 2), (0.1, 1), (9.0, 4)):
        report = verify_folder(copy.folder, QUIET, sample=sample)
        assert len(report.problems) == 2 * read
        assert report.problems == verify_folder(copy.folder, QUIET, sample=sample).problems
    seeds = {verify_folder(copy.folder, QUIET, sample=1, seed=seed).problems[0] for seed in range(8)}
    assert len(seeds) > 1
    copy.flip(copy.file("publish", ".parquet", "000000"), 2000)
    assert any(".parquet: damaged" in problem for problem in verify_folder(copy.folder, QUIET, sample=0.01).problems)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    done = zhclip("verify", tmp_path)
    assert (done.exit_code, "is not a run folder" in done.stderr) == (2, True)


def test_a_run_of_another_format_is_refused(copy: Copy) -> None:
    copy.write("run.json", b'{"format": 1}')
    done = zhclip("verify", copy.folder)
    assert (done.exit_code, "a run of format 1" in done.stderr) == (2, True)
