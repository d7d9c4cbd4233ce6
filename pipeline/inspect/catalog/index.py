"""What the manifests say, as small tables: a row per shard, per source and stage, per source and outcome, and per stage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from pipeline.inspect.funnel import source_funnels, stage_funnels
from pipeline.inspect.status import is_complete, stage_progress
from pipeline.run.folder import Run
from pipeline.run.manifest import Manifest
from pipeline.run.outcomes import LEDGER_OUTCOMES, undecided
from pipeline.stages.registry import OUTCOMES, STAGES

TIME = pa.timestamp("ms", "UTC")
SHARDS = pa.schema(
    [
        pa.field("stage", pa.string(), False),
        pa.field("command", pa.string(), False),  # that runs the stage: plan runs read, filter and plan
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
        *(pa.field(name, pa.int64(), False) for name in LEDGER_OUTCOMES),
        pa.field("rows_out", pa.int64(), False),
    ]
)
OUTCOMES_TABLE = pa.schema(
    [
        pa.field("source", pa.string(), False),
        pa.field("outcome", pa.string(), False),  # key: published, not_selected, …, waiting
        pa.field("label", pa.string(), False),  # the outcome for people
        pa.field("stage", pa.string()),  # that decided it; null for rows that wait
        pa.field("rows", pa.int64(), False),
    ]
)
FILES = pa.schema(
    [
        pa.field("stage", pa.string(), False),
        pa.field("shard", pa.string(), False),
        pa.field("name", pa.string(), False),  # relative to the run
        pa.field("bytes", pa.int64(), False),
        pa.field("sha256", pa.string(), False),
    ]
)
STAGES_TABLE = pa.schema(
    [
        pa.field("stage", pa.string(), False),
        pa.field("shards", pa.int64(), False),  # committed
        pa.field("expected", pa.int64()),  # null while that is not known
    ]
)


def shards_table(run: Run, manifests: Mapping[str, list[Manifest]]) -> pa.Table:
    """One row per committed shard, in the order of the stages."""
    rows = [
        _shard(manifest, noted) for stage, of in manifests.items() for manifest, noted in _with_times(run, stage, of)
    ]
    return pa.Table.from_pylist(rows, schema=SHARDS)


def files_table(manifests: Mapping[str, list[Manifest]]) -> pa.Table:
    """One row per file of the shards that can be read, in the order of the stages and of shards."""
    rows = [
        {"stage": stage, "shard": manifest.shard, "name": name, **described}
        for stage, of in manifests.items()
        for manifest in of
        for name, described in manifest.files.items()
    ]
    return pa.Table.from_pylist(rows, schema=FILES)


def funnel_table(run: Run) -> pa.Table:
    """One row per source and stage that counts rows and has begun, in the order of the recipe and of the stages."""
    rows = [
        {**asdict(funnel), **{name: funnel.lost.get(name, 0) for name in LEDGER_OUTCOMES}}
        for funnel in stage_funnels(run)
    ]
    return pa.Table.from_pylist(rows, schema=FUNNEL)


def outcomes_table(run: Run) -> pa.Table:
    """One row per source and outcome, in the order of the recipe and of the flow; `waiting` last."""
    waiting = undecided(is_complete(stage_progress(run)))
    labels = {key: (outcome.label, stage) for key, (stage, outcome) in OUTCOMES.items()}
    rows = [
        {"source": funnel.source, "outcome": key, "label": label, "stage": stage, "rows": count}
        for funnel in source_funnels(run)
        for key, (label, stage), count in [
            *((key, labels[key], count) for key, count in funnel.outcomes.items()),
            (waiting.key, (waiting.label, None), funnel.waiting),
        ]
    ]
    return pa.Table.from_pylist(rows, schema=OUTCOMES_TABLE)


def stages_table(run: Run) -> pa.Table:
    """One row per stage that the recipe asks for, in their order."""
    rows = [{"stage": it.stage, "shards": it.done, "expected": it.expected} for it in stage_progress(run)]
    return pa.Table.from_pylist(rows, schema=STAGES_TABLE)


def _shard(manifest: Manifest, noted: dict[str, Any]) -> dict[str, Any]:
    began, ended = noted.get("began"), noted.get("ended")
    return {
        "stage": manifest.stage,
        "command": STAGES[manifest.stage].command,
        "shard": manifest.shard,
        "rows_in": manifest.counts["in"],
        "rows_out": manifest.counts["out"],
        "bytes": sum(described["bytes"] for described in manifest.files.values()),
        "began": None if began is None else round(began * 1000),
        "ended": None if ended is None else round(ended * 1000),
        "seconds": None if began is None or ended is None else ended - began,
        "host": noted.get("host"),
        "digest": manifest.digest,
        "versions": json.dumps(manifest.versions, sort_keys=True),
    }


def _with_times(run: Run, stage: str, manifests: list[Manifest]) -> list[tuple[Manifest, dict[str, Any]]]:
    noted = {line["shard"]: line for line in run.times(stage)}  # of a shard that was done again, the last line counts
    return [(manifest, noted.get(manifest.shard, {})) for manifest in manifests]
