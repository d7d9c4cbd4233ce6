"""What the manifests say, as small tables: a row per shard, a row per source and stage, and a row per step."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from pipeline.inspect.status import steps_done
from pipeline.run.counts import rows_of, step_counts
from pipeline.run.folder import RECIPE_STAGE, Manifest, Run, Step

TIME = pa.timestamp("ms", "UTC")
SHARDS = pa.schema(
    [
        pa.field("step", pa.string(), False),
        pa.field("stage", pa.string(), False),  # of the recipe: the plan stage has the steps read, judge and plan
        pa.field("shard", pa.string(), False),
        pa.field("rows_in", pa.int64(), False),
        pa.field("rows_out", pa.int64(), False),
        pa.field("bytes", pa.int64(), False),  # of the files that its manifest names
        pa.field("began", TIME),  # of the attempt that was committed; null where nobody noted it
        pa.field("ended", TIME),
        pa.field("seconds", pa.float64()),
        pa.field("host", pa.string()),
        pa.field("digest", pa.string(), False),  # of the recipe, up to this stage
        pa.field("versions", pa.string(), False),  # of the packages that made it, as JSON
    ]
)
FUNNEL = pa.schema(
    [
        pa.field("source", pa.string(), False),
        pa.field("stage", pa.string(), False),
        pa.field("rows_in", pa.int64(), False),  # = out_of_scope + failed + rejected + rows_out
        pa.field("out_of_scope", pa.int64(), False),  # rows of other languages
        pa.field("failed", pa.int64(), False),  # not read, not fetched, not decoded
        pa.field("rejected", pa.int64(), False),  # by a rule, a threshold, or as a copy
        pa.field("rows_out", pa.int64(), False),
    ]
)
STEPS = pa.schema(
    [
        pa.field("step", pa.string(), False),
        pa.field("shards", pa.int64(), False),  # committed
        pa.field("expected", pa.int64()),  # null while that is not known
    ]
)
STAGE_OF_STEP: dict[Step, str] = {
    "read": "read",
    "judge": "plan",
    "download": "download",
    "score": "score",
    "select": "select",
    "publish": "publish",
}


def shards_table(run: Run, manifests: dict[Step, list[Manifest]]) -> pa.Table:
    """One row per committed shard, in the order of the steps."""
    rows = [
        _shard(found, noted) for step, all_of in manifests.items() for found, noted in _with_times(run, step, all_of)
    ]
    return pa.Table.from_pylist(rows, schema=SHARDS)


def funnel_table(run: Run) -> pa.Table:
    """One row per source and stage that has begun, in the order of the recipe and of the stages."""
    counted = {step: step_counts(run, step) for step in STAGE_OF_STEP}
    rows = [
        _place(source, stage, counted[step][source])
        for source in run.recipe.sources
        for step, stage in STAGE_OF_STEP.items()
        if source in counted[step]
    ]
    return pa.Table.from_pylist(rows, schema=FUNNEL)


def steps_table(run: Run) -> pa.Table:
    """One row per step that the recipe asks for, in their order."""
    rows = [dict(zip(STEPS.names, step, strict=True)) for step in steps_done(run)]
    return pa.Table.from_pylist(rows, schema=STEPS)


def _place(source: str, stage: str, counts: dict[str, int]) -> dict[str, Any]:
    out = counts.get("out", 0)
    return {
        "source": source,
        "stage": stage,
        "rows_in": counts.get("read", counts.get("in", out)),
        **{name: counts.get(name, 0) for name in ("out_of_scope", "failed", "rejected")},
        "rows_out": out,
    }


def _shard(found: Manifest, noted: dict[str, Any]) -> dict[str, Any]:
    rows_in, rows_out = rows_of(found.counts)
    began, ended = noted.get("began"), noted.get("ended")
    return {
        "step": found.step,
        "stage": RECIPE_STAGE[found.step],
        "shard": found.shard,
        "rows_in": rows_in,
        "rows_out": rows_out,
        "bytes": sum(described["bytes"] for described in found.files.values()),
        "began": None if began is None else round(began * 1000),
        "ended": None if ended is None else round(ended * 1000),
        "seconds": None if began is None or ended is None else ended - began,
        "host": noted.get("host"),
        "digest": found.digest,
        "versions": json.dumps(found.versions, sort_keys=True),
    }


def _with_times(run: Run, step: Step, manifests: list[Manifest]) -> list[tuple[Manifest, dict[str, Any]]]:
    noted = {line["shard"]: line for line in run.times(step)}  # of a shard that was done again, the last line counts
    return [(found, noted.get(found.shard, {})) for found in manifests]
