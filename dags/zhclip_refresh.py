"""Each month a run of its own over the metadata files that no earlier refresh has published; compared with the month before.

Needs the pools `zhclip_network` and `zhclip_gpu` (`airflow pools import pools.json`; a task whose pool is missing waits for
ever) and the Variables `zhclip_command` and `zhclip_folder`, and `zhclip_refresh` (JSON): see docs/airflow.md of zhclip.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Variable, task
from airflow.sdk.exceptions import AirflowSkipException

from zhclip_tasks import refresh
from zhclip_tasks.chain import RETRIES, read_recipe, stages
from zhclip_tasks.operator import folder, output_of, settings_of
from zhclip_tasks.params import curation, optional, overlaid
from zhclip_tasks.words import has_translation, recipe_words

VARIABLE = "zhclip_refresh"  # JSON with any of these params: what the scheduled runs take
PARAMS = {
    "recipe": optional(f"The recipe (YAML), whose globs name all metadata files; empty: as in the Variable {VARIABLE}"),
    "folder": optional("Folder of all refreshes; empty: as in the Variable"),
    "policy": optional("The quality gate's rules (YAML); empty: as in the Variable, else zhclip's own"),
    **curation(),
}

with DAG(
    "zhclip_refresh",
    schedule="@monthly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    default_args=RETRIES,
    doc_md=__doc__,
    tags=["zhclip"],
) as dag:

    @task(multiple_outputs=False)
    def settle(params: dict[str, Any], dag_run: Any) -> dict[str, Any]:
        """Claims the files that are new, in a recipe and a run named by the day; skips everything where none is."""
        asked = overlaid(PARAMS, Variable.get(VARIABLE, default={}, deserialize_json=True), params)
        runs, name = folder() / asked["folder"], f"{dag_run.logical_date or dag_run.run_after:%Y-%m-%d}"
        recipe = read_recipe(asked)
        listed = json.loads(output_of(recipe_words("files", asked), final=()))  # a remote may answer the next time
        claimed = refresh.claim(runs, name, recipe, listed)
        if claimed is None:
            raise AirflowSkipException(f"no metadata file is new: see {runs}/taken.json")
        before = refresh.previous(runs, name)
        settings = {**asked, "recipe": str(claimed), "overrides": [], "run": str(runs / name), "report": None}
        against = str(runs / before) if before else None
        return {**settings, "against": against, "translate": has_translation(read_recipe(settings))}

    @task
    def record(ti: Any = None) -> None:
        """Last: from now on the files are no longer new."""
        run = Path(settings_of(ti)["run"])
        refresh.record(run.parent, run.name)

    stages(settle()) >> record()
