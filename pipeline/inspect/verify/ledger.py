"""Ledger files: their form, their reasons, the keys of their pairs, and their rows against the manifest's counts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.inspect.verify.context import Context, listed
from pipeline.inspect.verify.manifests import outcome_names
from pipeline.run.ledger import LEDGER_SCHEMA
from pipeline.run.manifest import Manifest
from pipeline.run.outcomes import FAILED
from pipeline.stages.reasons import reason_of
from pipeline.stages.registry import STAGES


def check_ledger(context: Context, manifest: Manifest, name: str, ledger: pa.Table) -> Iterator[str]:
    """A ledger file by itself and against its manifest."""
    if (fault := schema_fault(ledger.schema, LEDGER_SCHEMA)) is not None:
        yield f"{name}: {fault}"
        return
    yield from _values(context, manifest, name, ledger)
    yield from _reasons(manifest.stage, name, ledger)
    yield from wrong_keys(name, ledger.filter(pc.is_valid(ledger["key"])))
    yield from _counts(manifest, name, ledger)
    if manifest.stage == "read":
        yield from _of_split(context, manifest, name, ledger)
    elif ledger["key"].null_count or pc.any(pc.not_equal(ledger["rows"], 1)).as_py():
        yield f"{name}: a row without a key, or one that stands for several rows: only the stage `read` has those"


def schema_fault(schema: pa.Schema, expected: pa.Schema) -> str | None:
    """What is wrong with a table's columns; further ones are allowed."""
    for column in expected:
        position = schema.get_field_index(column.name)
        if position < 0:
            return f"has no column `{column.name}`"
        if schema.field(position).type != column.type:
            return f"its column `{column.name}` is {schema.field(position).type}; expected {column.type}"
    return None


def wrong_keys(name: str, pairs: pa.Table) -> Iterator[str]:
    """Pairs whose key is not the MD5 of their source, url and caption; `pairs` has these columns.

    Not those of a url that was no text: the key is that of its bytes, which a ledger has not; it is compared with the plan's.
    """
    pairs = pairs.filter(pc.invert(pc.fill_null(pc.match_substring(pairs["url"], "\ufffd"), False)))
    texts = pc.binary_join_element_wise(
        pairs["source"], pairs["url"], pairs["caption"], "\n", null_handling="replace", null_replacement=""
    )
    rows = zip(pairs["key"].to_pylist(), pc.cast(texts, pa.binary()).to_pylist(), strict=True)
    wrong = [key for key, text in rows if hashlib.md5(text).hexdigest() != key]
    yield from listed(wrong, lambda keys: f"{name}: key {keys} is not the MD5 of its source, url and caption")


def _values(context: Context, manifest: Manifest, name: str, ledger: pa.Table) -> Iterator[str]:
    allowed = {
        "stage": [manifest.stage],
        "outcome": outcome_names(STAGES[manifest.stage]),
        "source": list(context.run.recipe.sources),
    }
    for column, values in allowed.items():
        others = sorted(set(pc.unique(ledger[column]).to_pylist()) - set(values), key=str)
        yield from listed(others, lambda shown, column=column: f"{name}: {column} {shown}: none of this ledger's")  # type: ignore[misc]
    if pc.any(pc.equal(pc.list_value_length(ledger["reasons"]), 0)).as_py():
        yield f"{name}: a row without a reason"


def _reasons(stage: str, name: str, ledger: pa.Table) -> Iterator[str]:
    codes = pc.unique(pc.list_flatten(ledger["reasons"])).to_pylist()
    unknown = [str(code) for code in codes if not _is_known(stage, str(code))]
    yield from listed(
        unknown, lambda shown: f"{name}: reason {shown}: no rule and no stage gives it; `zhclip reasons` lists all"
    )


@lru_cache(maxsize=4096)
def _is_known(stage: str, code: str) -> bool:
    return reason_of(stage, code) is not None


def rows_by_outcome(ledger: pa.Table) -> Counter[tuple[str, str]]:
    """(source, outcome) → rows that the entries stand for."""
    sums = ledger.group_by(["source", "outcome"], use_threads=False).aggregate([("rows", "sum")]).to_pylist()
    return Counter({(row["source"], row["outcome"]): row["rows_sum"] for row in sums})


def _counts(manifest: Manifest, name: str, ledger: pa.Table) -> Iterator[str]:
    rows, sources = rows_by_outcome(ledger), manifest.counts.get("sources", {})
    for source in sorted({*sources, *(source for source, _ in rows)}):
        for outcome in outcome_names(STAGES[manifest.stage]):
            counted = sources.get(source, {}).get(outcome, 0)
            if rows[source, outcome] != counted:
                yield f"{name}: {rows[source, outcome]:,} {outcome} rows of {source}; the manifest counts {counted:,}"


def _of_split(context: Context, manifest: Manifest, name: str, ledger: pa.Table) -> Iterator[str]:
    """A ledger of the read stage: rows of its own split, each entry once, blocks of unknown size as many as counted."""
    splits = context.layout.splits if context.layout else ()
    if int(manifest.shard) >= len(splits):
        return
    split = splits[int(manifest.shard)]
    outside = [str(file) for file in pc.unique(ledger["file"]).to_pylist() if file != split.file]
    yield from listed(outside, lambda files: f"{name}: rows of {files}; the split is of {split.file}")
    end = None if split.rows is None else split.first_row + split.rows
    rows = ledger["row"]
    if (
        end is not None
        and ledger.num_rows
        and not (split.first_row <= pc.min(rows).as_py() <= pc.max(rows).as_py() <= end)
    ):
        yield f"{name}: a row that is not between {split.first_row:,} and {end:,}, where the split lies"
    entries = Counter(
        zip(rows.to_pylist(), ledger["outcome"].to_pylist(), map(tuple, ledger["reasons"].to_pylist()), strict=True)
    )
    twice = [f"{row:,}" for (row, _, _), count in entries.items() if count > 1]
    yield from listed(twice, lambda shown: f"{name}: row {shown} stands there more than once")
    blocks = pc.sum(pc.and_(pc.equal(ledger["rows"], 0), pc.equal(ledger["outcome"], FAILED))).as_py() or 0
    unknown = manifest.counts.get("sources", {}).get(split.source, {}).get("unknown", 0)
    if unknown > blocks:
        yield f"{name}: {blocks} blocks of unknown size; the manifest counts {unknown}"
