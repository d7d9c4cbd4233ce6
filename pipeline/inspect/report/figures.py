"""Every figure of the report, as queries over the catalog's views. Aggregates only: no row of a pair reaches Python here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import duckdb

from pipeline.inspect.report.query import Row, rows
from pipeline.run.folder import Run
from pipeline.run.outcomes import WAITING
from pipeline.stages.registry import OUTCOMES, STAGES

OUTCOME_LABELS = {
    **{key: outcome.label.capitalize() for key, (_, outcome) in reversed(list(OUTCOMES.items()))},
    WAITING.key: WAITING.label.capitalize(),
}
"""Outcome → label, from the end of the flow to its beginning."""

FUNNEL = f"""
    select source, sum(rows)::bigint as read,
        {", ".join(f"sum(rows) filter (outcome = '{key}')::bigint as {key}" for key in OUTCOME_LABELS)}
    from outcomes group by source order by read desc, source
"""
REASONS = """
    select stage, reason, source, sum(rows)::bigint as pairs,
           coalesce(sum(rows) filter (only_reason), 0)::bigint as only
    from reasons group by all order by pairs desc, reason, source
"""
COMBINATIONS = """
    select list_sort(reasons) as reasons, sum(rows)::bigint as pairs from rejected group by 1 order by pairs desc, reasons limit 24
"""
SCORES = """
    select source, floor(round(score::double * 100, 3))::int as bin, min_score::double as min_score, count(*) as pairs,
           count(*) filter (keep) as kept
    from decisions group by all order by source, bin
"""
LENGTHS = """
    select 'kept' as side, least(length(caption), 61) as characters, count(*) as pairs from pairs group by all
    union all
    select 'dropped', least(length(caption), 61), count(*) from rejected where caption is not null group by all
    order by all
"""
SIZES = """
    select least(2048, greatest(64, 2 ** floor(log2(least(original_width, original_height)))))::int as side, count(*) as pairs
    from downloads where status = 'ok' group by all order by side
"""
ASPECTS = """
    select case when aspect < 1.2 then '1 to 1.2' when aspect < 1.5 then '1.2 to 1.5' when aspect < 2 then '1.5 to 2'
                when aspect < 3 then '2 to 3' else '3 and more' end as aspect, count(*) as pairs
    from (select greatest(original_width, original_height) / least(original_width, original_height) as aspect
          from downloads where status = 'ok') group by all order by all
"""
CLUSTERS = """
    select size, count(*) as clusters, (size * count(*))::bigint as pairs
    from (select cluster, least(count(*), 10) as size from clusters group by cluster) group by size order by size
"""
DOMAINS = """
    with counted as (
        select domain(url) as domain, count(*) as planned, 0 as ruled, 0 as failed, 0 as published from plan group by 1
        union all
        select domain(url), 0, coalesce(sum(rows) filter (stage = 'filter'), 0),
               coalesce(sum(rows) filter (stage = 'download'), 0), 0 from rejected group by 1
        union all
        select domain(url), 0, 0, 0, count(*) from pairs group by 1)
    select domain, sum(planned)::bigint as planned, sum(ruled)::bigint as ruled, sum(failed)::bigint as failed,
           sum(published)::bigint as published
    from counted where domain is not null group by 1
    order by sum(planned) + sum(ruled) desc, domain limit 200
"""
ERRORS = """
    with done as (select shard, ended from shards where stage = 'download' and ended is not null),
    span as (select epoch(min(ended)) as first, greatest(epoch(max(ended)) - epoch(min(ended)), 1) as seconds from done)
    select least(floor(24 * (epoch(ended) - first) / seconds), 23)::int as slice, reason, sum(rows)::bigint as pairs,
           first + slice * seconds / 24 as began
    from reasons join done using (shard), span where stage = 'download' group by all order by slice, reason
"""
THROUGHPUT = f"""
    select stage, any_value(command) as command, count(*) as shards, sum(rows_in)::bigint as rows, sum(bytes)::bigint as bytes,
           sum(seconds) as worker_seconds, epoch(max(ended)) - epoch(min(began)) as seconds, min(began) as began,
           max(ended) as ended
    from shards group by stage order by list_position({list(STAGES)}, stage)
"""
MODELS = """
    select text_model, text_revision, image_model, image_revision, dtype, count(*) as pairs from scores group by all
    order by pairs desc, text_model, text_revision, image_model, dtype
"""
VERSIONS = "select distinct versions from shards order by versions"
CONTAMINATION = """
    select reason, source, sum(rows)::bigint as pairs from reasons
    where reason like 'test\\_image\\_%' escape '\\' or reason like 'test\\_set\\_%' escape '\\' group by all order by all
"""
TODO = "select stage, shards, expected from stages where expected is null or shards < expected"
STAGE_FUNNEL = "select stage, sum(rows_in)::bigint as rows_in, sum(failed)::bigint as failed from funnel group by stage"
FIGURES: Mapping[str, str] = {
    "funnel": FUNNEL,
    "stage_funnel": STAGE_FUNNEL,
    "reasons": REASONS,
    "combinations": COMBINATIONS,
    "scores": SCORES,
    "lengths": LENGTHS,
    "sizes": SIZES,
    "aspects": ASPECTS,
    "clusters": CLUSTERS,
    "domains": DOMAINS,
    "errors": ERRORS,
    "throughput": THROUGHPUT,
    "models": MODELS,
    "versions": VERSIONS,
    "contamination": CONTAMINATION,
    "todo": TODO,
}


@dataclass(frozen=True)
class Figures:
    """All figures of a run: the answer of each query of FIGURES, and what follows from them."""

    run: Run
    answers: dict[str, list[Row]] = field(repr=False)

    def __getitem__(self, name: str) -> list[Row]:
        return self.answers[name]

    @property
    def read(self) -> int:
        """Rows of metadata that went in."""
        return sum(row["read"] for row in self["funnel"])

    @property
    def published(self) -> int:
        """Pairs that came out."""
        return sum(row["published"] for row in self["funnel"])

    @property
    def complete(self) -> bool:
        """Whether every stage has all of its shards."""
        return not self["todo"] and bool(self["throughput"])

    @property
    def reason_totals(self) -> dict[str, tuple[str, int, int]]:
        """reason → (stage, pairs with it, pairs with it alone) over all sources, the most frequent first."""
        totals: dict[str, tuple[str, int, int]] = {}
        for row in self["reasons"]:
            _, pairs, only = totals.get(row["reason"], ("", 0, 0))
            totals[row["reason"]] = (row["stage"], pairs + row["pairs"], only + row["only"])
        return dict(sorted(totals.items(), key=lambda item: (-item[1][1], item[0])))

    @property
    def scored(self) -> dict[str, list[Row]]:
        """source → its bins of scores."""
        bins: dict[str, list[Row]] = {}
        for row in self["scores"]:
            bins.setdefault(row["source"], []).append(row)
        return bins

    def passing(self, source: str, threshold: float) -> float:
        """Share of a source's scored pairs with at least this score; `threshold` in whole hundredths."""
        bins = self.scored[source]
        first_bin = round(threshold * 100)
        return sum(row["pairs"] for row in bins if row["bin"] >= first_bin) / sum(row["pairs"] for row in bins)


def read_figures(run: Run, connection: duckdb.DuckDBPyConnection) -> Figures:
    """Run every query of FIGURES. Words and images of the report come from `words` and `gallery`."""
    return Figures(run, {name: rows(connection, sql) for name, sql in FIGURES.items()})
