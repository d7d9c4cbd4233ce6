"""Select: which scored pairs are kept; numbers and verdicts in, decisions out, no image touched."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.run.folder import Attempt, Item, Run
from pipeline.run.ledger import REJECTED, count_by_source, entries, write_ledger, write_parquet
from pipeline.stages.dedup_images.stage import limits, verdicts, with_nsfw
from pipeline.stages.score.stage import read_scores

# A threshold is compared as float32, as scores are stored: a score written as 0.26 is not below 0.26.
DECISIONS = """
    select key, source, score, image_hash, min_score, len(reasons) = 0 as keep, reasons, detail
    from (
        select key, pairs.source, score, image_hash, limits.min_score::float as min_score, verdicts.detail,
               case when score < limits.min_score::float then ['score_too_low'] else []::varchar[] end
               || case when nsfw_score > limits.max_nsfw::float then ['nsfw_too_high'] else []::varchar[] end
               || coalesce(verdicts.reasons, []::varchar[]) as reasons
        from pairs join scores using (key) join limits using (source) left join verdicts using (key)
    )
    order by key
"""


def work(run: Run, item: Item) -> None:
    """Decides on every scored pair of a shard and commits the decisions in key order."""
    with run.attempt("select", item.name) as attempt:
        _select(run, item.name, attempt)


def _select(run: Run, shard: str, attempt: Attempt) -> None:
    pairs = pq.read_table(run.path("plan", f"{shard}.parquet"))
    scores = read_scores(run, shard)
    decisions = _decide(run, pairs, scores)
    dropped = decisions.filter(pc.invert(decisions["keep"]))
    lost = pairs.filter(pc.is_in(pairs["key"], dropped["key"]))  # both are in key order
    scored = pairs.filter(pc.is_in(pairs["key"], scores["key"]))
    path, ledger = attempt.folder / "select.parquet", attempt.folder / "ledger.parquet"
    write_parquet(decisions.drop_columns(["reasons", "detail"]), path)
    rows = entries(lost, "select", REJECTED, dropped["reasons"], dropped["detail"], dropped["score"])
    write_ledger(ledger, rows)
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
    tables = {
        "pairs": pairs.select(["key", "source"]),
        "scores": with_nsfw(scores).select(["key", "score", "image_hash", "nsfw_score"]),
        "limits": limits(run),
        "verdicts": verdicts(run, scores["key"]),
    }
    with duckdb.connect(config={"threads": 1}) as connection:
        for name, table in tables.items():
            connection.register(name, table)
        decisions = connection.sql(DECISIONS).to_arrow_table()
    if decisions.num_rows != scores.num_rows:
        raise ValueError(
            f"{scores.num_rows} scores but {decisions.num_rows} pairs that they belong to; run `zhclip verify`"
        )
    return decisions
