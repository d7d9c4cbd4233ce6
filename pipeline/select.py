"""Select: which scored pairs are kept, per source; numbers in, decisions out, no image touched."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.ledger import REJECTED, as_lists, count_by_source, entries, write_ledger, write_parquet
from pipeline.runfolder import Item, Run

# A threshold is compared as float32, as scores are stored: a score written as 0.26 is not below 0.26.
DECISIONS = """
    select key, pairs.source, score, image_hash, limits.min_score::float as min_score,
           coalesce(score >= limits.min_score::float, true) as keep
    from pairs join scores using (key) join limits using (source)
    order by key
"""


def work(run: Run, item: Item) -> None:
    """Decides on every scored pair of a shard and commits the decisions in key order."""
    shard = item.name
    pairs = pq.read_table(run.path("plan", f"{shard}.parquet"))
    scores = pq.read_table(run.path("score", f"{shard}.parquet"))
    decisions = _decide(run, pairs, scores)
    dropped = decisions.filter(pc.invert(decisions["keep"]))
    lost = pairs.filter(pc.is_in(pairs["key"], dropped["key"]))  # both are in key order
    scored = pairs.filter(pc.is_in(pairs["key"], scores["key"]))
    with run.attempt("select", shard) as attempt:
        path, ledger = attempt.folder / "select.parquet", attempt.folder / "ledger.parquet"
        write_parquet(decisions, path)
        reasons = as_lists(pa.chunked_array([pa.repeat(pa.scalar("score_too_low"), lost.num_rows)]))
        write_ledger(ledger, entries(lost, "select", REJECTED, reasons, score=dropped["score"]))
        attempt.commit(
            {path: run.path("select", f"{shard}.parquet"), ledger: run.ledger_path("select", shard)},
            {
                "in": scored.num_rows,
                "rejected": lost.num_rows,
                "out": scored.num_rows - lost.num_rows,
                "sources": count_by_source(scored, lost, "rejected"),
            },
        )


def _decide(run: Run, pairs: pa.Table, scores: pa.Table) -> pa.Table:
    sources = run.recipe.sources
    limits = pa.table(
        {"source": list(sources), "min_score": pa.array([s.min_score for s in sources.values()], pa.float64())}
    )
    with duckdb.connect(config={"threads": 1}) as connection:
        for name, table in (("pairs", pairs.select(["key", "source"])), ("scores", scores), ("limits", limits)):
            connection.register(name, table)
        decisions = connection.sql(DECISIONS).to_arrow_table()
    if decisions.num_rows != scores.num_rows:
        raise ValueError(
            f"{scores.num_rows} scores but {decisions.num_rows} pairs that they belong to; run `zhclip verify`"
        )
    return decisions
