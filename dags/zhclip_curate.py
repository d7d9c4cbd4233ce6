"""A recipe becomes a published, checked and reported dataset and, where the run asks for it, a trained and evaluated checkpoint.

Needs the pools `zhclip_network` and `zhclip_gpu` (`airflow pools import pools.json`; a task whose pool is missing waits for
ever) and the Variables `zhclip_command` and `zhclip_folder`: see docs/airflow.md of zhclip.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

from zhclip_tasks.chain import RETRIES, pretraining, read_recipe, stages
from zhclip_tasks.operator import folder
from zhclip_tasks.params import curation, optional, text, training
from zhclip_tasks.words import has_translation

PARAMS = {
    "recipe": text("The recipe (YAML)"),
    "run": text("The run's folder; a new one is started, an existing one continued"),
    "policy": optional("The quality gate's rules (YAML); empty: those that zhclip check --example prints"),
    "against": optional("A run to compare with, in gate and report"),
    "report": optional("File for the report; empty: RUN/report.html"),
    **curation(),
    **training(),
}

with DAG("zhclip_curate", params=PARAMS, default_args=RETRIES, doc_md=__doc__, tags=["zhclip"]) as dag:

    @task(multiple_outputs=False)
    def settle(params: dict[str, Any]) -> dict[str, Any]:
        """Reads the recipe, and makes the folders of run and training absolute."""
        run = folder() / params["run"]
        training = folder() / (params["training"] or f"{run}-training")
        paths = {"run": str(run), "training": str(training)}
        return {**params, **paths, "translate": has_translation(read_recipe(params))}

    pretraining(gate=stages(settle()))
