"""Plan, part 1: one split of a metadata file becomes canonical pairs with keys and row-wise verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from filters.base import Filter, judge
from foundation.pairs import PAIR_SCHEMA
from pipeline.run.folder import Attempt, Item, Run
from pipeline.run.keys import pair_keys
from pipeline.run.ledger import write_ledger
from pipeline.sources.base import Source
from pipeline.sources.captions import Captions
from pipeline.sources.splits import Split, Unreadable
from pipeline.stages.read.buckets import BucketWriter, caption_buckets
from pipeline.stages.read.layout import read_layout
from pipeline.stages.read.tally import Tally
from pipeline.stages.translate.stage import translated

CHUNK_ROWS = 262_144  # rows ordered by bucket at a time
ROWS_SCHEMA = PAIR_SCHEMA.append(pa.field("key", pa.string(), False)).append(pa.field("bits", pa.uint64(), False))


def expected(run: Run) -> list[str]:
    """One shard per split."""
    return [f"{number:06d}" for number in range(len(read_layout(run).splits))]


def work(run: Run, item: Item) -> None:
    """Reads one split and commits its pairs, ordered by caption bucket within each chunk."""
    with run.attempt("read", item.name) as attempt:
        _read(run, item.name, attempt)


def _read(run: Run, shard: str, attempt: Attempt) -> None:
    layout = read_layout(run)
    split = layout.splits[int(shard)]
    source = run.recipe.sources[split.source]
    rules, tally, captions = source.row_rules(), Tally(split), Captions(source, translated(run, shard))
    rows_path, ledger_path = attempt.folder / "rows.arrow", attempt.folder / "ledger.parquet"
    with BucketWriter(rows_path, ROWS_SCHEMA, layout.buckets) as writer:
        for chunk in _chunks(_pairs(split, source, tally, captions)):
            rows = _with_verdicts(chunk, rules)
            writer.write(rows, caption_buckets(rows, layout.buckets))
    write_ledger(ledger_path, tally.ledger)
    attempt.commit(
        {ledger_path: run.ledger_path("read", shard)},
        tally.counts,
        scratch={rows_path: run.path("read", f"{shard}.arrow")},
    )


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
    bits = judge(rules, pairs)
    return pa.Table.from_arrays([*pairs.columns, pair_keys(pairs), pa.array(bits)], schema=ROWS_SCHEMA)
