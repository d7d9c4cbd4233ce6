"""The DAGs as Airflow sees them: what is imported, in which order and pool tasks run, which params are refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.dags.conftest import DAGS

pytestmark = pytest.mark.slow

GOOD: list[dict[str, Any]] = [
    {"recipe": "demo/recipes/demo.yaml", "run": "runs/a b; rm -rf"},
    {"recipe": "r.yaml", "run": "r", "workers": 4, "overrides": ["sources.laion.min_score=0.3"], "train": True},
    {"recipe": "r.yaml", "run": "r", "beam_options": ["--runner=FlinkRunner"], "against": "runs/old"},
]
BAD: list[dict[str, Any]] = [
    {},
    {"recipe": "r.yaml"},
    {"recipe": "", "run": "r"},
    {"recipe": "--help", "run": "r"},
    {"recipe": "r.yaml", "run": "-r"},
    {"recipe": "r.yaml", "run": "r", "workers": 0},
    {"recipe": "r.yaml", "run": "r", "workers": "4"},
    {"recipe": "r.yaml", "run": "r", "overrides": "a=b"},
    {"recipe": "r.yaml", "run": "r", "overrides": ["no equals sign"]},
    {"recipe": "r.yaml", "run": "r", "overrides": ["--workers=1"]},
    {"recipe": "r.yaml", "run": "r", "beam_options": ["FlinkRunner"]},
    {"recipe": "r.yaml", "run": "r", "train": "yes"},
]
STORED = {"recipe": "r.yaml", "folder": "refreshes", "overrides": ["a=1"]}
REFRESH: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (STORED, {}),
    (STORED, {"folder": "elsewhere", "overrides": ["b=2"]}),
    ({}, {"recipe": "r.yaml"}),
    ({**STORED, "polcy": "p.yaml"}, {}),
    ({**STORED, "workers": "four"}, {}),
]


@pytest.fixture(scope="module")
def loaded_dags(airflow_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("home")
    script = Path(__file__).with_name("graph.py")
    done = subprocess.run(
        [str(airflow_bin / "python"), str(script), json.dumps({"curate": GOOD + BAD, "refresh": REFRESH})],
        env={"PYTHONPATH": str(DAGS), "AIRFLOW_HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def test_importing_them_costs_nothing(loaded_dags: dict[str, Any]) -> None:
    ours = {name for name in loaded_dags["modules"] if name.startswith("zhclip")}
    assert ours == {"zhclip_curate", "zhclip_refresh", "zhclip_tasks"}
    assert not {"pipeline", "filters", "trainer", "torch", "pyarrow", "duckdb", "numpy"} & {*loaded_dags["modules"]}


def test_curation_runs_its_stages_in_order(loaded_dags: dict[str, Any]) -> None:
    after = {name: {*task["after"]} for name, task in loaded_dags["curate"]["tasks"].items()}
    assert after == {
        "settle": set(),
        "wants_translation": {"settle"},
        "translate": {"wants_translation"},
        "plan": {"settle", "translate"},
        "download": {"plan"},
        "score": {"download"},
        "select": {"score"},
        "publish": {"select"},
        "check": {"publish"},
        "report": {"publish"},  # whatever the gate says
        "wants_training": {"check"},
        "train_stage_1": {"wants_training"},
        "train_stage_2": {"train_stage_1"},
        "evaluate": {"train_stage_2"},
    }


def test_refresh_has_the_same_stages_and_ends_with_the_record(loaded_dags: dict[str, Any]) -> None:
    curate, refresh = loaded_dags["curate"]["tasks"], loaded_dags["refresh"]["tasks"]
    same = {name for name in curate if name not in ("wants_training", "train_stage_1", "train_stage_2", "evaluate")}
    assert {name: refresh[name] for name in same} == {name: curate[name] for name in same}
    assert {*refresh} - same == {"record"}
    assert refresh["record"]["after"] == ["check"]
    assert (loaded_dags["refresh"]["schedule"], loaded_dags["refresh"]["catchup"]) == ("@monthly", False)
    assert loaded_dags["refresh"]["at_a_time"] == 1


def test_every_task_is_tried_again_with_back_off(loaded_dags: dict[str, Any]) -> None:
    for task in [*loaded_dags["curate"]["tasks"].values(), *loaded_dags["refresh"]["tasks"].values()]:
        assert (task["retries"], task["backoff"]) == (3, 2)


def test_pools_that_are_imported_are_those_that_tasks_wait_for(loaded_dags: dict[str, Any]) -> None:
    pools = {name: task["pool"] for name, task in loaded_dags["curate"]["tasks"].items()}
    gpu = {"translate", "score", "train_stage_1", "train_stage_2", "evaluate"}
    assert {name for name, pool in pools.items() if pool == "zhclip_gpu"} == gpu
    assert {name for name, pool in pools.items() if pool == "zhclip_network"} == {"download"}
    listed = json.loads((DAGS / "pools.json").read_text(encoding="utf-8"))
    assert {*listed, "default_pool"} == {*pools.values()}


def test_params_that_do_not_fit_are_refused(loaded_dags: dict[str, Any]) -> None:
    assert loaded_dags["refused"] == [False] * len(GOOD) + [True] * len(BAD)


def test_refresh_takes_its_settings_from_the_variable_and_those_of_a_run_before_them(
    loaded_dags: dict[str, Any],
) -> None:
    stored, given, missing, unknown, wrong = loaded_dags["settled"]
    left_out = dict.fromkeys(("policy", "workers", "beam_options"))
    assert stored == STORED | left_out
    assert given == STORED | left_out | {"folder": "elsewhere", "overrides": ["b=2"]}
    assert "must name folder" in missing
    assert "polcy" in unknown and "policy" in unknown
    assert "workers" in wrong and "four" in wrong
