"""One plan shard: its pairs and their keys, followed through every stage that works on plan shards, as the registry has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from foundation.pairs import PAIR_SCHEMA
from pipeline.inspect.verify.context import Context, Opened, first_difference, ledger_keys, listed
from pipeline.inspect.verify.ledger import check_ledger, schema_fault, wrong_keys
from pipeline.inspect.verify.manifests import outcome_names
from pipeline.inspect.verify.members import are_keys
from pipeline.inspect.verify.reading import file_of
from pipeline.inspect.verify.stage_tables import CHECKS, Step
from pipeline.run.keys import key_ranges
from pipeline.run.ledger import rows_by_source
from pipeline.run.manifest import Manifest
from pipeline.run.names import LEDGER
from pipeline.sources.columns import to_text
from pipeline.stages.registry import LEDGER_STAGES, STAGES

PLANNED = PAIR_SCHEMA.append(pa.field("key", pa.string(), False))
OF_PAIR = ("source", "file", "row", "url", "caption")


def check_plan_shard(context: Context, shard: str) -> list[str]:
    """Every file of the shard is hashed; keys are followed as far as stages and files are sound."""
    run, opened = context.run, Opened(context)
    stages = [stage for stage in ("plan", *run.between("plan", "publish")) if run.manifest(stage, shard)]
    tables = {stage: opened.tables(_manifest(context, stage, shard)) for stage in stages}
    problems = opened.problems
    problems += _follow(context, shard, tables)
    return problems


def kept_pairs(context: Context, shard: str, pairs: pa.Table) -> pa.Table:
    """The rows of plan/ that no stage before publishing lost, in key order."""
    for lost in ledger_keys(context, shard, context.run.between("plan", "publish")):
        pairs = pairs.filter(pc.invert(pc.is_in(pairs["key"], lost)))
    return pairs


def _manifest(context: Context, stage: str, shard: str) -> Manifest:
    manifest = context.run.manifest(stage, shard)
    assert manifest is not None  # the caller looked
    return manifest


def _follow(context: Context, shard: str, tables: dict[str, dict[str, pa.Table]]) -> Iterator[str]:
    pairs = tables.get("plan", {}).get(".parquet")
    if pairs is None:
        return
    plan = _manifest(context, "plan", shard)
    name = file_of(context.run, plan, ".parquet") or ""
    faults = list(_planned(context, plan, name, pairs))
    yield from faults
    if faults and schema_fault(pairs.schema, PLANNED):
        return
    waiting = pairs
    for stage in context.run.between("plan", "publish"):
        if stage not in tables:
            return
        manifest = _manifest(context, stage, shard)
        ledger = tables[stage].get(LEDGER)
        if stage in LEDGER_STAGES and ledger is None:
            return  # damaged, and named as that
        lost = waiting.slice(0, 0)
        if ledger is not None:
            name = file_of(context.run, manifest, LEDGER) or ""
            yield from check_ledger(context, manifest, name, ledger)
            rows = pc.index_in(ledger["key"], waiting["key"].combine_chunks())
            yield from _lost(stage, name, waiting, ledger, rows)
            lost = waiting.filter(pc.is_in(waiting["key"], ledger["key"].combine_chunks()))
        yield from _counts(context, manifest, waiting, lost)
        left = waiting.filter(pc.invert(pc.is_in(waiting["key"], lost["key"].combine_chunks())))
        step = Step(context, manifest, waiting, left, tables, ledger)
        yield from _own_table(step)
        waiting = left


def _planned(context: Context, manifest: Manifest, name: str, pairs: pa.Table) -> Iterator[str]:
    """The pairs of a plan shard by themselves: keys that are right, in order, once, and in one key range."""
    if (fault := schema_fault(pairs.schema, PLANNED)) is not None:
        yield f"{name}: {fault}"
        return
    yield from wrong_keys(name, pairs)
    keys = pairs["key"].combine_chunks()
    if len(keys) > 1 and not pc.all(pc.less(keys[:-1], keys[1:])).as_py():
        yield f"{name}: its pairs are not in key order, or a key stands there twice"
    yield from _counts(context, manifest, pairs, pairs.slice(0, 0))
    if context.layout is not None and are_keys(keys):
        ranges = set(key_ranges(pairs["key"], context.layout.buckets).tolist())
        if len(ranges) > 1:
            yield f"{name}: holds keys of {len(ranges)} key ranges; a shard lies in one"


def _lost(stage: str, name: str, waiting: pa.Table, ledger: pa.Table, rows: pa.ChunkedArray) -> Iterator[str]:
    """The rows of a ledger are pairs that reached the stage, each once, and say of them what the plan says."""
    foreign = ledger["key"].filter(pc.is_null(rows)).to_pylist()
    yield from listed(foreign, lambda keys: f"{name}: pair {keys} is none of those that reached the stage {stage}")
    twice = [key for key, count in Counter(ledger["key"].to_pylist()).items() if count > 1]
    yield from listed(twice, lambda keys: f"{name}: pair {keys} stands there more than once")
    known = ledger.filter(pc.is_valid(rows))
    planned = waiting.take(rows.filter(pc.is_valid(rows)).combine_chunks())
    urls = to_text(planned["url"].cast(pa.binary()))  # a ledger is text, also of a url that is not
    planned = planned.set_column(planned.schema.get_field_index("url"), "url", urls)
    for column in OF_PAIR:
        if (key := first_difference(known["key"], known[column], planned[column])) is not None:
            yield f"{name}: {column} of pair {key} is not what plan/ says of it"


def _counts(context: Context, manifest: Manifest, waiting: pa.Table, lost: pa.Table) -> Iterator[str]:
    """Rows in, lost and out of a stage by source, counted from the files."""
    into, gone, sources = rows_by_source(waiting), rows_by_source(lost), manifest.counts.get("sources", {})
    outcomes = outcome_names(STAGES[manifest.stage])
    for source in sorted({*into, *sources}):
        counted = sources.get(source, {})
        for label, number in (
            ("in", into.get(source, 0)),
            ("out", into.get(source, 0) - gone.get(source, 0)),
        ):
            if counted.get(label, 0) != number:
                yield (
                    f"{context.name_of(manifest)}: counts {counted.get(label, 0):,} rows {label} of {source}; "
                    f"the files have {number:,}"
                )
    unknown = sorted({name for rows in sources.values() for name in rows} - {"in", "out", *outcomes})
    yield from listed(unknown, lambda names: f"{context.name_of(manifest)}: counts {names}, which this stage does not")


def _own_table(step: Step) -> Iterator[str]:
    """The table that a stage makes of its pairs has a row for each that came in, or for each that it handed on, in order."""
    table = step.table
    if table is None:
        return
    stage = step.manifest.stage
    for view in STAGES[stage].views:
        if view.ending == ".parquet" and (fault := schema_fault(table.schema, view.schema)) is not None:
            yield f"{step.name}: {fault}"
            return
    if "key" not in table.column_names:
        return
    keys = table["key"].combine_chunks()
    if not (keys.equals(step.waiting["key"].combine_chunks()) or keys.equals(step.left["key"].combine_chunks())):
        yield (
            f"{step.name}: does not have the keys of the {step.waiting.num_rows:,} pairs that reached the stage {stage}, nor "
            f"those of the {step.left.num_rows:,} that it handed on, in key order; it has {len(keys):,} rows"
        )
    elif stage in CHECKS:
        yield from CHECKS[stage](step)
