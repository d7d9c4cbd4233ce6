"""Run by Airflow's own Python, in the folder of the DAGs: prints as JSON what the two DAGs are made of."""

from __future__ import annotations

import copy
import json
import sys

from airflow.providers.standard.decorators import short_circuit  # noqa: F401 (Airflow's own cost, not ours)
from airflow.providers.standard.hooks import subprocess  # noqa: F401
from airflow.sdk import DAG, Param
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError

before = set(sys.modules)
import zhclip_curate  # noqa: E402
import zhclip_refresh  # noqa: E402
from zhclip_tasks.params import overlaid  # noqa: E402


def refused(params: dict[str, Param], given: dict[str, object]) -> bool:
    """Whether Airflow refuses a run with these values."""
    tried = ParamsDict(copy.deepcopy(params))
    try:
        tried.update(given)
        tried.validate()
    except ParamValidationError:
        return True
    return False


def settled(stored: dict[str, object], given: dict[str, object]) -> dict[str, object] | str:
    """What a refresh works with: its Variable and its params laid over each other; or why it cannot."""
    params = ParamsDict(copy.deepcopy(zhclip_refresh.PARAMS)).dump()
    try:
        return overlaid(copy.deepcopy(zhclip_refresh.PARAMS), stored, {**params, **given})
    except AirflowFailException as error:
        return str(error)


def described(dag: DAG) -> dict[str, object]:
    """Tasks of a DAG, as far as tests ask."""
    tasks = {
        task.task_id: {
            "after": sorted(task.upstream_task_ids),
            "pool": task.pool,
            "rule": str(task.trigger_rule),
            "retries": task.retries,
            "backoff": task.retry_exponential_backoff,
        }
        for task in dag.tasks
    }
    return {"tasks": tasks, "schedule": dag.schedule, "catchup": dag.catchup, "at_a_time": dag.max_active_runs}


asked = json.loads(sys.argv[1])
print(
    json.dumps(
        {
            "modules": sorted({name.partition(".")[0] for name in set(sys.modules) - before}),
            "curate": described(zhclip_curate.dag),
            "refresh": described(zhclip_refresh.dag),
            "refused": [refused(zhclip_curate.PARAMS, given) for given in asked["curate"]],
            "settled": [settled(stored, given) for stored, given in asked["refresh"]],
        }
    )
)
