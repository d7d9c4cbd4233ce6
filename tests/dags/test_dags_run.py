"""Both DAGs, run by Airflow on a small world: stages, gate, report, pretraining, evaluation; and refreshes."""

from __future__ import annotations

import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from pipeline.inspect.funnel import source_funnels
from pipeline.stages.opening import read_run
from tests.dags.conftest import REPOSITORY, DagSite
from tests.dags.runs import Curated, Refreshed
from trainer.checkpoint import checkpoints, load_checkpoint, open_model

ALWAYS = {"settle", "wants_translation", "plan", "download", "score", "select", "publish", "check", "report"}
TRAINING = {"wants_training", "train_stage_1", "train_stage_2", "evaluate"}


@pytest.fixture(scope="module")
def curated(both: dict[str, Future[Any]]) -> Curated:
    return both["curate"].result()  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def refreshed(both: dict[str, Future[Any]]) -> list[Refreshed]:
    return both["refresh"].result()  # type: ignore[no-any-return]


def test_curation_ends_in_a_passed_gate_a_report_and_a_checkpoint(curated: Curated) -> None:
    assert curated.tasks.code == 0, curated.tasks.log[-4000:]
    assert curated.tasks.states == {**dict.fromkeys(ALWAYS | TRAINING, "success"), "translate": "skipped"}
    assert curated.tasks.said["check"].startswith("passed")
    assert "<html" in (curated.run / "report.html").read_text(encoding="utf-8")[:500]
    assert all(
        funnel.waiting == 0 and funnel.outcomes["published"] > 20 for funnel in source_funnels(read_run(curated.run))
    )
    newest = checkpoints(curated.run.with_name(f"{curated.run.name}-training"))[-1]
    position, _ = load_checkpoint(newest)
    assert (position.stage, position.step) == (2, 6)
    assert open_model(newest).config.embed_dim == 256
    assert 0 < json.loads(curated.tasks.said["evaluate"])["mean_recall"] < 100


def test_killed_stage_is_tried_again(curated: Curated) -> None:
    assert curated.tasks.tries["download"] == 2
    assert curated.tasks.tries["score"] == 1


def test_names_reach_no_shell_and_no_template(curated: Curated, dag_site: DagSite) -> None:
    assert curated.run.name == "a run; touch injected {{ 7 * 7 }}"
    assert not [
        path for folder in (REPOSITORY, dag_site.folder, curated.airflow.folder) for path in folder.glob("injected*")
    ]


def test_dags_have_no_import_errors(curated: Curated) -> None:
    assert "[]" in curated.airflow.call("dags", "list-import-errors", "--output", "json").stdout.splitlines()


def test_refresh_that_fails_at_its_gate_is_reported_and_takes_nothing(refreshed: list[Refreshed]) -> None:
    failed = refreshed[0]
    assert failed.tasks.code == 1
    states = dict.fromkeys(ALWAYS, "success") | {"translate": "skipped", "check": "failed", "record": "upstream_failed"}
    assert failed.tasks.states == states, failed.tasks.log[-4000:]
    assert failed.tasks.tries["check"] == 1  # no other try would make it better
    assert failed.reported
    assert [*failed.taken] == ["2026-01-01"]


def test_refresh_takes_only_what_is_new(refreshed: list[Refreshed]) -> None:
    read = {funnel.source: funnel.read for funnel in source_funnels(read_run(refreshed[0].folder / "2026-02-01"))}
    assert [*read] == ["wukong"]
    assert 20 < read["wukong"] < 100  # the rows of one file


def test_repeated_refresh_keeps_its_files_and_is_compared_with_the_one_before(refreshed: list[Refreshed]) -> None:
    repeated = refreshed[1]
    assert repeated.tasks.code == 0, repeated.tasks.log[-4000:]
    assert repeated.tasks.said["check"] == "passed: 4 passed"
    assert repeated.tasks.states["record"] == "success"
    assert [*repeated.taken] == ["2026-01-01", "2026-02-01"]
    (source, files), *others = repeated.taken["2026-02-01"].items()
    assert (source, [Path(file).name for file in files], others) == ("wukong", ["february.csv"], [])


def test_refresh_without_new_files_is_skipped(refreshed: list[Refreshed]) -> None:
    last = refreshed[2]
    assert last.tasks.code == 0, last.tasks.log[-4000:]
    assert {*last.tasks.states.values()} == {"skipped"}
    assert last.taken == refreshed[1].taken
    assert not (last.folder / "2026-03-01").exists()
