"""The DAG runs that the tests look at."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.run.folder import Run
from pipeline.sources.files import find_files
from tests.dags.conftest import Airflow, DagSite, Tasks, new_airflow
from zhclip_tasks.refresh import claim, read_taken, record

STAGES = "plan|download|score|select|publish|report"
KILLED_ONCE = """#!/bin/sh
# zhclip, whose first download is killed before it has ended
if [ "$1" = download ] && [ ! -e "{mark}" ]; then
    touch "{mark}"
    exec timeout -s KILL 1 {command} "$@"
fi
exec {command} "$@"
"""


@dataclass(frozen=True)
class Curated:
    """A run of zhclip_curate, with pretraining."""

    airflow: Airflow
    tasks: Tasks
    run: Path


def curate(dag_site: DagSite) -> Curated:
    """Runs zhclip_curate from the recipe to the evaluated checkpoint; the first download is killed."""
    wrapper = dag_site.folder / "killed once" / "zhclip"
    wrapper.parent.mkdir()
    wrapper.write_text(KILLED_ONCE.format(mark=dag_site.folder / "killed", command=dag_site.command), encoding="utf-8")
    wrapper.chmod(0o755)
    run = dag_site.folder / "a run; touch injected {{ 7 * 7 }}"
    steps = {
        f"stages.{stage}.{name}": value for stage in (0, 1) for name, value in {"steps": 3, "batch_size": 32}.items()
    }
    conf = {
        "recipe": dag_site.recipe,
        "run": str(run),
        "overrides": dag_site.overrides(
            sources__laion__files=json.dumps([dag_site.world.laion]),
            sources__wukong__files=json.dumps([dag_site.world.wukong]),
        ),
        "workers": 2,
        "policy": str(dag_site.policy("curate", pairs=100)),
        "train": True,
        "preset": "demo/training/chinese.yaml",
        "training_overrides": [*(f"{name}={value}" for name, value in steps.items()), "data.workers=0"],
        "evaluation_set": str(run / "dataset"),
    }
    airflow = new_airflow(dag_site.folder / "airflow-curate", shlex.quote(str(wrapper)))
    return Curated(airflow, airflow.test("zhclip_curate", conf), run)


@dataclass(frozen=True)
class Refreshed:
    """What a refresh left in its folder."""

    tasks: Tasks
    folder: Path
    taken: dict[str, Any]
    reported: bool


def refresh_three_times(dag_site: DagSite, january: Run) -> list[Refreshed]:
    """After January's run: February, with one new file, fails at the gate, is repeated and passes; March has nothing new."""
    incoming, folder = dag_site.folder / "incoming files", dag_site.folder / "all refreshes"
    laion, wukong = dag_site.world.laion, dag_site.world.wukong
    stored = {
        "recipe": dag_site.recipe,
        "folder": str(folder),
        "policy": str(dag_site.policy("refresh", pairs=5)),
        "overrides": dag_site.overrides(
            sources__laion__files=json.dumps([laion]), sources__wukong__files=json.dumps([wukong, f"{incoming}/*.csv"])
        ),
        "workers": 2,
    }
    _publish_january(folder, january, {"laion": find_files([laion]), "wukong": find_files([wukong])})
    airflow = new_airflow(
        dag_site.folder / "airflow-refresh", dag_site.command, AIRFLOW_VAR_ZHCLIP_REFRESH=json.dumps(stored)
    )

    def refresh(date: str, *words: str, **conf: str) -> Refreshed:
        tasks = airflow.test("zhclip_refresh", conf, date, *words)
        return Refreshed(tasks, folder, read_taken(folder), (folder / date / "report.html").exists())

    incoming.mkdir()
    new, late = incoming / "february.csv", incoming / "late.csv"
    shutil.copy(find_files([wukong])[1], new)
    failed = refresh("2026-02-01", policy=str(dag_site.policy("impossible", pairs=1_000_000)))
    shutil.copy(new, late)
    repeated = refresh("2026-02-01", "--mark-success-pattern", STAGES)  # that stages resume is tested elsewhere
    late.unlink()
    return [failed, repeated, refresh("2026-03-01")]


def _publish_january(folder: Path, run: Run, files: dict[str, list[str]]) -> None:
    """Makes a finished run the refresh of January."""
    shutil.copytree(run.folder, folder / "2026-01-01")
    claim(folder, "2026-01-01", run.recipe.canonical(), files)
    record(folder, "2026-01-01")
