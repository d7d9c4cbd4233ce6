"""What the tables of single stages must say, beside their keys: outcomes of downloads, scores, decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.inspect.verify.context import Context, first_difference
from pipeline.inspect.verify.raw_tar import check_images
from pipeline.inspect.verify.reading import file_of
from pipeline.run.manifest import Manifest
from pipeline.run.names import LEDGER
from pipeline.stages.dedup_images.tables import DECISIONS, DECISIONS_ENDING
from pipeline.stages.registry import STAGES
from pipeline.stages.select import decide


@dataclass(frozen=True)
class Step:
    """One stage on one plan shard, with all tables that the stages up to here have made of it."""

    context: Context
    manifest: Manifest
    waiting: pa.Table  # rows of plan/ that reached the stage
    left: pa.Table  # those that it handed on
    tables: Mapping[str, Mapping[str, pa.Table]]  # stage → ending → table
    ledger: pa.Table | None

    @property
    def table(self) -> pa.Table | None:
        """What the stage itself made."""
        return self.tables[self.manifest.stage].get(".parquet")

    @property
    def name(self) -> str:
        """The name of that table."""
        return file_of(self.context.run, self.manifest, ".parquet") or self.context.name_of(self.manifest)


def _download(step: Step) -> Iterator[str]:
    table, ledger = step.table, step.ledger
    assert table is not None and ledger is not None  # looked at by the caller
    failed = table.filter(pc.not_equal(table["status"], "ok"))
    others = set(pc.unique(table["status"]).to_pylist()) - {"ok", "failed"}
    if others:
        yield f"{step.name}: status {', '.join(map(str, others))}; expected ok or failed"
    if not failed["key"].equals(ledger["key"]):
        yield f"{step.name}: the pairs that failed are not those of the ledger"
    else:
        reasons = pa.chunked_array(
            [pa.array([[reason] for reason in failed["reason"].to_pylist()], pa.list_(pa.string()))]
        )
        for column, values in (("reasons", reasons), ("detail", failed["detail"])):
            if (
                key := first_difference(failed["key"], ledger[column].combine_chunks(), values.combine_chunks())
            ) is not None:
                yield f"{step.name}: the ledger gives other {column} for pair {key}"
    counted = dict(Counter(failed["reason"].to_pylist()))
    if step.manifest.counts.get("reasons") != counted:
        yield f"{step.context.name_of(step.manifest)}: `reasons` is not what {step.name} gives: {counted}"
    yield from check_images(step.context, step.manifest, table)


def _score(step: Step) -> Iterator[str]:
    assert step.table is not None
    if step.table.num_rows != step.left.num_rows or step.table["score"].null_count:
        yield f"{step.name}: a pair without a score; such pairs belong into the ledger"


def _select(step: Step) -> Iterator[str]:
    """The decisions, made anew from scores, limits and what dedup_images decided."""
    table, ledger, scored = step.table, step.ledger, step.tables.get("score", {}).get(".parquet")
    assert table is not None and ledger is not None
    if scored is None or table.num_rows != step.waiting.num_rows:
        return
    scored = scored.filter(pc.is_in(scored["key"], table["key"].combine_chunks()))
    expected = {"source": step.waiting["source"], "score": scored["score"], "image_hash": scored["image_hash"]}
    for column, values in expected.items():
        if (key := first_difference(table["key"], table[column], values)) is not None:
            yield f"{step.name}: {column} of pair {key} is not what score/ and plan/ say of it"
            return
    decisions = _decisions(step.context, table["key"])
    if decisions is None:
        return
    reasons, detail = decide(step.context.run.recipe, step.waiting, scored, decisions)
    keep = pc.equal(pc.list_value_length(reasons), 0)
    if (key := first_difference(table["key"], table["keep"], pa.chunked_array([keep]))) is not None:
        yield f"{step.name}: `keep` of pair {key} is not what its score, the recipe's limits and dedup_images give"
    dropped = pc.invert(keep)
    lost = table["key"].filter(dropped)
    if not lost.equals(ledger["key"]):
        yield f"{file_of(step.context.run, step.manifest, LEDGER)}: its pairs are not those that fall out by score and images"
        return
    for column, values in (("reasons", reasons), ("detail", detail), ("score", scored["score"])):
        of_lost = values.filter(dropped)
        if isinstance(of_lost, pa.ChunkedArray):
            of_lost = of_lost.combine_chunks()
        if (key := first_difference(lost, ledger[column].combine_chunks(), of_lost)) is not None:
            yield f"{file_of(step.context.run, step.manifest, LEDGER)}: {column} of pair {key}: score and images give another"


def _decisions(context: Context, keys: pa.ChunkedArray) -> pa.Table | None:
    """What dedup_images decided on pairs in key order; None where that cannot be read."""
    if not STAGES["dedup_images"].enabled(context.run.recipe) or not len(keys):
        return DECISIONS.empty_table()
    manifests = context.run.manifests("dedup_images")
    name = file_of(context.run, manifests[0], DECISIONS_ENDING) if manifests else None
    if name is None:
        return None
    try:
        return context.files.rows_between(name, keys[0].as_py(), keys[-1].as_py())
    except Exception:  # its own check names it
        return None


CHECKS: dict[str, Callable[[Step], Iterator[str]]] = {"download": _download, "score": _score, "select": _select}
"""Stage → a look at its table, whose schema and keys are right."""
