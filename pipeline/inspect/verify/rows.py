"""Rows over all shards: none is in two places, and none vanishes between two stages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.inspect.funnel import source_funnels
from pipeline.inspect.verify.context import Context
from pipeline.inspect.verify.manifests import counts_sources
from pipeline.inspect.verify.reading import file_of
from pipeline.run.counts import stage_counts
from pipeline.run.keys import key_ranges
from pipeline.run.names import LEDGER
from pipeline.stages.registry import enabled

SHOWN = 20  # rows that stand in two places, at most
BEYOND = 1_000_000  # rows: a position so far behind all that was read of a file is no position


def check_conservation(context: Context, complete: list[str]) -> Iterator[str]:
    """What a stage hands on is what the next one takes, source by source; in a complete run every row is somewhere."""
    run = context.run
    flow = [stage.name for stage in enabled(run.recipe) if counts_sources(stage)]
    for stage, following in pairwise(flow):
        if not {stage, following} <= set(complete):
            continue
        out, into = stage_counts(run, stage), stage_counts(run, following)
        for source in run.recipe.sources:
            handed = out.get(source, Counter[str]())["out"]
            taken = into.get(source, Counter[str]())["in"]
            if handed != taken:
                yield f"source {source}: {stage}/ hands on {handed:,} rows; {run.stages[following].folder}/ counts {taken:,}"
    if "publish" in complete:
        for funnel in source_funnels(run):
            if funnel.waiting:
                yield (
                    f"source {funnel.source}: {funnel.read:,} rows read; neither published nor in the ledger: {funnel.waiting:+,}"
                )


def check_ranges(context: Context, complete: list[str]) -> Iterator[str]:
    """The rows of each key range: those that filter/ counts, over all buckets, are those that plan/ holds."""
    if context.layout is None or not {"filter", "plan"} <= set(complete):
        return
    buckets = context.layout.buckets
    counted, there = np.zeros(buckets, dtype=np.int64), np.zeros(buckets, dtype=np.int64)
    for manifest in context.run.manifests("filter"):
        ranges = manifest.counts.get("ranges", [])
        if len(ranges) != buckets:
            yield f"{context.name_of(manifest)}: `ranges` has {len(ranges)} numbers; the layout has {buckets} buckets"
            return
        counted += np.array(ranges, dtype=np.int64)
    for _, table in _tables(context, ("plan",), ".parquet", ["key"]):
        there += np.bincount(key_ranges(table["key"], buckets), minlength=buckets)
    for number in np.flatnonzero(counted != there).tolist():
        yield f"key range {number}: filter/ counts {int(counted[number]):,} rows in `ranges`; plan/ holds {int(there[number]):,}"


def check_positions(context: Context) -> Iterator[str]:
    """Each row of the metadata is one pair: in the ledger of the filters, or in the plan. A bit of memory for a row."""
    seen: dict[tuple[str, str], np.ndarray] = {}
    limit = BEYOND + 8 * sum(manifest.counts["in"] for manifest in context.run.manifests("read"))
    left = SHOWN
    for ending, stage in ((LEDGER, "filter"), (".parquet", "plan")):
        for name, table in _tables(context, (stage,), ending, ["source", "file", "row"]):
            for (source, file), rows in _by_file(table):
                if len(rows) and (rows.min() < 0 or rows.max() > limit):
                    yield f"{name}: row {int(rows.max()):,} of {file}: the file cannot have so many"
                    continue
                bits = _grown(seen, (source, file), int(rows.max()) if len(rows) else 0)
                for row in _marked(bits, rows)[:left].tolist():
                    left -= 1
                    yield f"{name}: row {row:,} of {file} ({source}) stands in the run twice"


def _tables(
    context: Context, stages: tuple[str, ...], ending: str, columns: list[str]
) -> Iterator[tuple[str, pa.Table]]:
    """Name and columns of a table of each shard; what cannot be read has a problem of its own already."""
    for stage in stages:
        for manifest in context.run.manifests(stage):
            name = file_of(context.run, manifest, ending)
            table = _columns(context, name, columns)
            if name is not None and table is not None:
                yield name, table


def _columns(context: Context, name: str | None, columns: list[str]) -> pa.Table | None:
    try:
        table = None if name is None else context.files.table(name, columns)
    except Exception:
        return None
    return table if table is not None and table.column_names == columns else None


def _by_file(table: pa.Table) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """((source, file), int64 rows) of each file that a table has rows of."""
    joined = pc.binary_join_element_wise(table["source"], table["file"], "\n").combine_chunks().dictionary_encode()
    codes, rows = joined.indices.to_numpy(), table["row"].to_numpy()
    for code, name in enumerate(joined.dictionary.to_pylist()):
        source, _, file = name.partition("\n")
        yield (source, file), rows[codes == code]


def _grown(seen: dict[tuple[str, str], np.ndarray], file: tuple[str, str], row: int) -> np.ndarray:
    """The bits of a file (uint8, eight rows each), long enough for a row."""
    bits, size = seen.get(file, np.zeros(0, dtype=np.uint8)), row // 8 + 1
    if len(bits) < size:
        bits = seen[file] = np.concatenate([bits, np.zeros(max(size, 2 * len(bits)) - len(bits), dtype=np.uint8)])
    return bits


def _marked(bits: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Marks rows, and returns those that were marked already, or that are there twice."""
    ordered = np.sort(rows)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    before = ordered[(bits[ordered >> 3] >> (ordered & 7).astype(np.uint8)) & 1 == 1]
    np.bitwise_or.at(bits, ordered >> 3, np.left_shift(1, ordered & 7).astype(np.uint8))
    return np.union1d(twice, before)
