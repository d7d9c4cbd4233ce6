"""Filter: pairs with equal captions meet, so that duplicates and frequent captions are known; the ledger of all rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.base import Filter as Rule
from filters.base import decode_reasons, reason_bits, reasons_of
from filters.rules import Rules
from pipeline.recipe import Recipe
from pipeline.run.attempt import Attempt
from pipeline.run.folder import Item, Run
from pipeline.run.keys import key_ranges
from pipeline.run.ledger import add_up, entries
from pipeline.run.outcomes import REJECTED, Outcome
from pipeline.sources.rules.eval_ids import REASONS as EVAL_ID_REASONS
from pipeline.stages.base import Stage
from pipeline.stages.layout import Layout, read_layout
from pipeline.stages.read.buckets import BucketWriter, read_bucket
from pipeline.stages.read.stage import ROWS_SCHEMA


class Filter(Stage):
    """One shard per bucket of captions, over all splits: rejected pairs go to the ledger, kept ones on, by key range."""

    name = "filter"
    command = "plan"
    label = "filter captions"
    summary = "Apply the rules that compare pairs, and reject duplicates across all sources."
    outcomes = (
        Outcome("rejected_by_rules", "rejected by rules", REJECTED, "Pairs that a rule rejects, or that occur twice."),
    )

    @property
    def reasons(self) -> Mapping[str, str]:  # type: ignore[override]
        """Those of all rules: of a recipe, of sources, and of duplicates."""
        return rule_reasons()

    def inputs(self, recipe: Recipe) -> dict[str, Any]:
        """What counts as one pair, and the order of sources: an earlier one keeps what both have."""
        return {"duplicates": recipe.canonical()["duplicates"], "order": list(recipe.sources)}

    def shards(self, run: Run) -> list[str]:
        """One per bucket."""
        return [f"{number:06d}" for number in range(read_layout(run).buckets)]

    def make(self, attempt: Attempt, item: Item) -> None:
        """Filter one bucket and commit its kept rows and its ledger."""
        _filter_bucket(attempt.run, item.name, attempt)


def rule_reasons() -> dict[str, str]:
    """Reason code → sentence, of every rule that there is, in the order of the recipe's `rules`; then of the others."""
    declared: dict[str, str] = {}
    for rule in (*Rules.classes(), *_subclasses(Rule)):  # type: ignore[type-abstract]
        if isinstance(rule.reasons, Mapping):
            declared |= rule.reasons
    return declared | EVAL_ID_REASONS


def _subclasses(rule: type[Rule]) -> Iterator[type[Rule]]:
    for subclass in rule.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _filter_bucket(run: Run, shard: str, attempt: Attempt) -> None:
    layout = read_layout(run)
    rejected, kept, counts = _filter(run, _bucket(run, layout, int(shard)))
    ranges = key_ranges(kept["key"], layout.buckets)
    with BucketWriter(attempt.scratch(".arrow"), kept.schema, layout.buckets) as writer:
        writer.write(kept, ranges)
    attempt.ledger(rejected)
    attempt.commit({**add_up(counts), "ranges": np.bincount(ranges, minlength=layout.buckets).tolist()})


def _bucket(run: Run, layout: Layout, bucket: int) -> pa.Table:
    """All rows of one bucket in the order of the recipe's sources, their files and rows."""
    shards = [f"{number:06d}" for number in range(len(layout.splits))]
    tables = [read_bucket(run.open_scratch("read", shard, ".arrow"), bucket, layout.buckets) for shard in shards]
    return pa.concat_tables(tables).combine_chunks() if tables else ROWS_SCHEMA.empty_table()


def _filter(run: Run, rows: pa.Table) -> tuple[pa.Table, pa.Table, dict[str, dict[str, int]]]:
    duplicate_bits, duplicate_names = _duplicates(run, rows)
    counts: dict[str, dict[str, int]] = {}
    rejected, kept = [], []
    for name, source in run.recipe.sources.items():
        of_source = np.asarray(pc.equal(rows["source"], name).to_numpy(zero_copy_only=False), dtype=bool)
        own = rows.filter(pa.array(of_source))
        bits = own["bits"].to_numpy()
        names = reasons_of(source.row_rules())
        for more_names, more_bits in (
            (reasons_of(source.rules.group_filters()), reason_bits(source.rules.group_filters(), own)),
            (duplicate_names, duplicate_bits[of_source]),
        ):
            bits = bits | (more_bits << np.uint64(len(names)))
            names = (*names, *more_names)
        bad = bits != 0
        reasons = decode_reasons(bits[bad], names)
        rejected.append(entries(own.filter(pa.array(bad)), "filter", REJECTED, reasons))
        kept.append(own.filter(pa.array(~bad)).drop_columns(["bits"]))
        counts[name] = {"in": own.num_rows, REJECTED: int(bad.sum()), "out": int((~bad).sum())}
    return pa.concat_tables(rejected), pa.concat_tables(kept).combine_chunks(), counts


def _duplicates(run: Run, rows: pa.Table) -> tuple[np.ndarray, tuple[str, ...]]:
    """Duplicates across all sources; a pair that no rule rejected wins over one that is out anyway."""
    priority = pc.cast(pc.not_equal(rows["bits"], pa.scalar(0, pa.uint64())), pa.int8())
    masks = run.recipe.duplicates.rejects(rows.append_column("priority", priority))
    names = tuple(run.recipe.duplicates.reasons)
    bits = np.zeros(rows.num_rows, dtype=np.uint64)
    for position, name in enumerate(names):
        mask = np.asarray(masks[name].to_numpy(zero_copy_only=False), dtype=bool)
        bits |= mask.astype(np.uint64) << np.uint64(position)
    return bits, names
