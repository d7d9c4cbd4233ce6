"""Airflow, in its environment of its own (`make airflow`), and the DAGs run in it for real: both at a time, as each is slow."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo.world import World
from pipeline.run.folder import Run
from tests.support.runs import REPOSITORY, Site

DAGS = REPOSITORY / "dags"
AIRFLOW = REPOSITORY / ".airflow" / "bin"


@pytest.fixture(scope="session")
def airflow_bin() -> Path:
    """Programs of Airflow's environment; in CI it has to be there."""
    if not (AIRFLOW.parent / ".installed").exists():
        pytest.skip("Airflow's environment is missing: run `make airflow` (half a minute)")
    return AIRFLOW


@dataclass(frozen=True)
class Tasks:
    """How a DAG run ended."""

    code: int
    log: str
    states: dict[str, str]  # task → success, failed, skipped, upstream_failed
    tries: dict[str, int]
    said: dict[str, Any]  # task → what it left in XCom


@dataclass(frozen=True)
class Airflow:
    """One Airflow home, with a database of its own."""

    folder: Path
    environment: dict[str, str]

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs the airflow command."""
        command = [str(AIRFLOW / "airflow"), *words]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=400, cwd=self.folder
        )

    def test(self, dag: str, conf: dict[str, Any], *words: str) -> Tasks:
        """`airflow dags test`: the whole DAG, without a scheduler; `words` are a date, and options."""
        done = self.call("dags", "test", dag, *words, "--conf", json.dumps(conf))
        with sqlite3.connect(self.folder / "airflow.db") as database:
            last = "(select run_id from dag_run order by id desc limit 1)"
            tasks = database.execute(
                f"select task_id, state, try_number from task_instance where run_id = {last}"
            ).fetchall()
            xcom_rows = database.execute(
                f"select task_id, value from xcom where key = 'return_value' and run_id = {last}"
            ).fetchall()
        states, tries = {task: state for task, state, _ in tasks}, {task: number for task, _, number in tasks}
        return_values = {task: json.loads(value) for task, value in xcom_rows}
        return Tasks(done.returncode, done.stdout + done.stderr, states, tries, return_values)


def new_airflow(folder: Path, command: str, **variables: str) -> Airflow:
    """An Airflow home whose Variables say where zhclip is; `variables` are further ones."""
    folder.mkdir(parents=True)
    settings = {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
        "AIRFLOW_VAR_ZHCLIP_COMMAND": command,
        "AIRFLOW_VAR_ZHCLIP_FOLDER": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    made = Airflow(folder, {**os.environ, **settings, **variables})
    done = made.call("db", "migrate")
    assert done.returncode == 0, done.stderr
    return made


@dataclass(frozen=True)
class DagSite:
    """A world of a few hundred pairs, and a folder for what is made of it. Names that a shell or a template would read."""

    world: World
    folder: Path

    @property
    def command(self) -> str:
        """How zhclip is called; each word may hold spaces."""
        return shlex.join([sys.executable, "-m", "zhclip"])

    @property
    def recipe(self) -> str:
        """The demo's recipe under a name that no shell may see."""
        path = self.folder / "a recipe; touch injected; $(touch injected) `touch injected` {{ 7 * 7 }}.yaml"
        if not path.exists():
            shutil.copy(REPOSITORY / "demo" / "recipes" / "demo.yaml", path)
        return str(path)

    def overrides(self, **more: str) -> list[str]:
        """The recipe's values for this world; `more` are others, with __ for a dot."""
        allow = json.dumps([self.world.allow_host])
        values = {
            "sources.laion.removal_lists": json.dumps([str(self.world.removal_list)]),
            "sources.laion.rules.url.allow_hosts": allow,
            "sources.wukong.rules.url.allow_hosts": allow,
            "download.allow_hosts": allow,
            "download.timeout": "1.5",
            "download.deadline": "2.5",
            **{name.replace("__", "."): value for name, value in more.items()},
        }
        return [f"{name}={value}" for name, value in values.items()]

    def policy(self, name: str, pairs: int) -> Path:
        """A quality gate that asks for so many pairs, and compares scores where there is a run to compare with."""
        path = self.folder / f"{name}.yaml"
        drift = {"rule": "score_drift", "max": 1}
        rules = [{"rule": "complete"}, {"rule": "conservation"}, {"rule": "pairs", "min": pairs}, drift]
        path.write_text(json.dumps({"rules": rules}), encoding="utf-8")
        return path


@pytest.fixture(scope="session")
def dag_site(site: Site, tmp_path_factory: pytest.TempPathFactory) -> DagSite:
    """The world, which is served on loopback while the tests run, and an empty folder."""
    return DagSite(site.world, tmp_path_factory.mktemp("dags"))


@pytest.fixture(scope="session")
def both(airflow_bin: Path, dag_site: DagSite, finished: Run) -> Iterator[dict[str, Future[Any]]]:  # noqa: ARG001 (skips)
    """Both DAGs at work, side by side; the tests wait for the one they ask about."""
    from tests.dags.runs import curate, refresh_three_times

    with ThreadPoolExecutor(2) as pool:
        yield {"curate": pool.submit(curate, dag_site), "refresh": pool.submit(refresh_three_times, dag_site, finished)}
