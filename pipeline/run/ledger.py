"""The ledger: one row for every pair that a stage did not hand on, with all of its reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.run.parquet import write_parquet

LEDGER_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),  # position in the file, from 0; of the first one where rows > 1
        pa.field(
            "rows", pa.int64(), nullable=False
        ),  # how many rows this entry stands for: 1 but for unreadable blocks
        pa.field("key", pa.string()),
        pa.field("url", pa.string()),
        pa.field("caption", pa.string()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("reasons", pa.list_(pa.string()), nullable=False),
        pa.field("detail", pa.string()),
        pa.field("score", pa.float32()),  # where the pair was scored
    ]
)


def entries(
    pairs: pa.Table,
    stage: str,
    outcome: str,
    reasons: pa.Array | Sequence[Sequence[str]],
    detail: Any = None,
    score: Any = None,
) -> pa.Table:
    """Ledger rows for pairs (columns of PAIR_SCHEMA and `key`); `reasons` has one list per pair."""
    count = pairs.num_rows
    return pa.table(
        {
            **{name: pairs[name] for name in ("source", "file", "row")},
            "rows": pa.repeat(pa.scalar(1, pa.int64()), count),
            **{name: pairs[name] for name in ("key", "url", "caption")},
            "stage": pa.repeat(pa.scalar(stage), count),
            "outcome": pa.repeat(pa.scalar(outcome), count),
            "reasons": pa.array(reasons, pa.list_(pa.string())) if isinstance(reasons, Sequence) else reasons,
            "detail": pa.nulls(count, pa.string()) if detail is None else detail,
            "score": pa.nulls(count, pa.float32()) if score is None else score,
        },
        schema=LEDGER_SCHEMA,
    )


def block_entry(
    source: str, file: str, row: int, rows: int, outcome: str, reason: str, detail: str = ""
) -> dict[str, Any]:
    """One ledger row for many rows of a file that have no pair: unreadable ones, or those of other languages."""
    return {
        "source": source,
        "file": file,
        "row": row,
        "rows": rows,
        "stage": "read",
        "outcome": outcome,
        "reasons": [reason],
        "detail": detail,
    }


def write_ledger(path: Path, rows: pa.Table | list[dict[str, Any]]) -> int:
    """Writes a ledger file (also an empty one, so that its absence always means something) and returns its row count."""
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema=LEDGER_SCHEMA)
    write_parquet(table, path)
    return int(table.num_rows)


def as_lists(reasons: pa.ChunkedArray) -> pa.Array:
    """Each reason as a list of one."""
    values = reasons.combine_chunks()
    return pa.ListArray.from_arrays(pa.array(range(len(values) + 1), pa.int32()), values)


def rows_by_source(pairs: pa.Table) -> dict[str, int]:
    """Rows per source, sorted by name."""
    return dict(sorted((row["values"], row["counts"]) for row in pc.value_counts(pairs["source"]).to_pylist()))


def tally(pairs: pa.Table, lost: pa.Table | None = None, outcome: str = "") -> dict[str, Any]:
    """The counts of a manifest: rows in, lost (under the name of their ledger outcome) and out, in all and by source.

    Args:
        pairs: rows in, with a column `source`.
        lost: those of them that are not handed on; None where the stage hands on all.
        outcome: of the lost rows in the ledger.
    """
    rows_in, rows_lost = rows_by_source(pairs), Counter(rows_by_source(lost) if lost is not None else {})
    named = {outcome: 0} if outcome else {}
    sources = {
        name: {"in": rows, **dict.fromkeys(named, rows_lost[name]), "out": rows - rows_lost[name]}
        for name, rows in rows_in.items()
    }
    return add_up(sources)


def add_up(sources: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Counts by source, and their sums beside them, as every manifest has them."""
    totals = Counter[str]({"in": 0, "out": 0})
    for counts in sources.values():
        totals.update(counts)
    return {**totals, "sources": {name: dict(counts) for name, counts in sources.items()}}
