"""Plan, part 1: one split of a metadata file becomes canonical pairs with keys and row-wise verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import pyarrow as pa

from filters.base import Filter, reason_bits
from foundation.pairs import PAIR_SCHEMA
from foundation.text import counted
from pipeline.recipe import Recipe
from pipeline.run.attempt import Attempt
from pipeline.run.counts import stage_counts
from pipeline.run.folder import Item, Run
from pipeline.run.keys import pair_keys
from pipeline.run.ledger import add_up
from pipeline.run.outcomes import FAILED, OUT_OF_SCOPE, Outcome
from pipeline.sources.base import Source
from pipeline.sources.captions import Captions
from pipeline.sources.splits import UNREADABLE_REASONS, Split, Unreadable
from pipeline.stages.base import Stage, TooMuchFailed
from pipeline.stages.layout import make_layout, read_inputs, read_layout
from pipeline.stages.read.buckets import BucketWriter, caption_buckets
from pipeline.stages.read.tally import Tally
from pipeline.stages.translate.stage import translated

CHUNK_ROWS = 262_144  # rows ordered by bucket at a time
ROWS_SCHEMA = PAIR_SCHEMA.append(pa.field("key", pa.string(), False)).append(pa.field("bits", pa.uint64(), False))


class Read(Stage):
    """One shard per split: its pairs, ordered by caption bucket within each chunk."""

    name = "read"
    command = "plan"
    label = "read metadata"
    summary = "Read metadata files and apply every rule that looks at a single row."
    outcomes = (
        Outcome("out_of_scope", "other language", OUT_OF_SCOPE, "Rows of languages that the source does not ask for."),
        Outcome("unreadable", "unreadable", FAILED, "Rows of metadata that cannot be read."),
    )
    reasons: ClassVar[Mapping[str, str]] = {
        "language": "the row is in a language that the source's `languages` do not name",
        **UNREADABLE_REASONS,
    }

    def inputs(self, recipe: Recipe) -> dict[str, Any]:
        """The sources but for what is decided on scores, and how the metadata is divided."""
        values = recipe.canonical()
        sources = {name: read_inputs(source) for name, source in values["sources"].items()}
        return {"sources": sources, "plan": {name: values["plan"][name] for name in ("split_rows", "bucket_rows")}}

    def prepare(self, run: Run) -> None:
        """Divide the metadata, where that is not done yet."""
        make_layout(run)

    def shards(self, run: Run) -> list[str]:
        """One per split."""
        return [f"{number:06d}" for number in range(len(read_layout(run).splits))]

    def make(self, attempt: Attempt, item: Item) -> None:
        """Read one split and commit its pairs."""
        _read(attempt.run, item.name, attempt)

    def check(self, run: Run) -> None:
        """Compare with limits.unreadable_share, source by source."""
        limit = run.recipe.limits.unreadable_share
        for name, counts in stage_counts(run, self.name).items():
            blocks = sum(split.source == name for split in read_layout(run).splits)
            share = max(counts["failed"] / max(1, counts["in"]), counts["unknown"] / max(1, blocks))
            if share > limit:
                raise TooMuchFailed(
                    f"source {name}: {counts['failed']:,} of {counted(counts['in'], 'row')} cannot be read, and "
                    f"{counts['unknown']:,} of {counted(blocks, 'file')} cannot be opened or read to the end; "
                    f"limits.unreadable_share is {limit:g}. `ledger/read` names every location: mend the files, or raise the limit"
                )


def _read(run: Run, shard: str, attempt: Attempt) -> None:
    layout = read_layout(run)
    split = layout.splits[int(shard)]
    source = run.recipe.sources[split.source]
    rules, tally, captions = source.row_rules(), Tally(split), Captions(source, translated(run, shard))
    with BucketWriter(attempt.scratch(".arrow"), ROWS_SCHEMA, layout.buckets) as writer:
        for chunk in _chunks(_pairs(split, source, tally, captions)):
            rows = _with_verdicts(chunk, rules)
            writer.write(rows, caption_buckets(rows, layout.buckets))
    attempt.ledger(tally.ledger)
    attempt.commit(add_up({split.source: tally.counts}))


def _pairs(split: Split, source: Source, tally: Tally, captions: Captions) -> Iterator[pa.Table]:
    """The pairs of a split that are in scope, batch by batch; the tally notes the rest."""
    for block in source.read(split):
        if isinstance(block, Unreadable):
            tally.unreadable(block)
            continue
        first_row = int(block.positions[0])
        try:
            pairs = source.to_pairs(block.table, split.source, split.file, block.positions)
        except ValueError as error:
            tally.unreadable(Unreadable(first_row, len(block.positions), "unreadable_file", str(error)))
            continue
        pairs = captions.complete(pairs, block.table)
        wanted = source.in_scope(pairs)
        kept = pairs if wanted is None else pairs.filter(pa.array(wanted))
        tally.block(pairs.num_rows, first_row, pairs.num_rows - kept.num_rows)
        yield kept


def _chunks(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Tables of about CHUNK_ROWS rows."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(part.num_rows for part in waiting) >= CHUNK_ROWS:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting = []
    if any(part.num_rows for part in waiting):
        yield pa.concat_tables(waiting).combine_chunks()


def _with_verdicts(pairs: pa.Table, rules: tuple[Filter, ...]) -> pa.Table:
    """ROWS_SCHEMA of pairs: their keys, and a bit for each reason of `rules` that rejects them."""
    bits = reason_bits(rules, pairs)
    return pa.Table.from_arrays([*pairs.columns, pair_keys(pairs), pa.array(bits)], schema=ROWS_SCHEMA)
