"""The tasks that both DAGs have: stages, quality gate, report; and the optional pretraining."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import yaml
from airflow.sdk import XComArg, task

from zhclip_tasks import words
from zhclip_tasks.operator import INVALID, ZhclipOperator, output_of, settings_of

NETWORK, GPU = "zhclip_network", "zhclip_gpu"
POOLS = {"translate": GPU, "download": NETWORK, "score": GPU}  # of stages; the others run anywhere
RETRIES = {"retries": 3, "retry_exponential_backoff": 2.0, "max_retry_delay": timedelta(hours=1)}
"""Of every task; the first delay is Airflow's own ([core] default_task_retry_delay, 5 minutes)."""

GATE_FAILED = 1  # exit code of `zhclip check`


def read_recipe(settings: words.Settings) -> dict[str, Any]:
    """The recipe with every default, as `zhclip recipe show` prints it; a wrong one fails here, at once."""
    recipe: dict[str, Any] = yaml.safe_load(output_of(words.recipe_words("show", settings)))
    return recipe


def stages(settle: XComArg) -> ZhclipOperator:
    """All stages of a run, its quality gate and its report, behind the task that settles it; returns the gate."""
    before: list[Any] = [settle]
    for name in words.STAGES:
        pool = POOLS.get(name, "default_pool")
        stage = ZhclipOperator(task_id=name, words=partial(words.stage_words, name), pool=pool)
        if len(before) > 1:
            stage.trigger_rule = "none_failed_min_one_success"  # what is optional was done, or there was nothing to do
        if name in OPTIONAL:
            before >> OPTIONAL[name]() >> stage
            before = [*before, stage]
        else:
            before >> stage
            before = [stage]
    check = ZhclipOperator(task_id="check", words=words.check_words, final=[GATE_FAILED, INVALID])
    report = ZhclipOperator(task_id="report", words=words.report_words, final=[INVALID])
    for task_behind in (check, report):  # side by side: a run that does not pass is the one whose report is read
        before >> task_behind
    return check


def pretraining(gate: ZhclipOperator) -> None:
    """Both stages of pretraining and the evaluation, behind the gate and only where the run asks for them."""
    first, second = (
        ZhclipOperator(
            task_id=f"train_stage_{number}",
            words=partial(words.train_words, number),
            pool=GPU,
            final=[INVALID],
            training=True,
        )
        for number in (1, 2)
    )
    evaluate = ZhclipOperator(task_id="evaluate", words=words.evaluate_words, pool=GPU, final=[INVALID])
    gate >> wants_training() >> first >> second >> evaluate


@task.short_circuit(ignore_downstream_trigger_rules=False)
def wants_translation(ti: Any = None) -> bool:
    """Asked outside of the pool: a run that translates nothing does not wait for a GPU."""
    return bool(settings_of(ti)["translate"])


@task.short_circuit
def wants_training(ti: Any = None) -> bool:
    """Asked outside of the pool, like `wants_translation`."""
    return bool(settings_of(ti)["train"])


OPTIONAL = {"translate": wants_translation}
"""Stages that a run may not need → the task that asks for them."""
