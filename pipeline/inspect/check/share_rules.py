"""Rules on shares and counts of rows: kept, not fetched, not readable, and how much of the result is one thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from foundation.config import value
from pipeline.inspect.check.rule import PREVIOUS, Gate, Measured, Per, Rule, measured, subject_of, where_subject

PER = "the whole run, or each source by itself"
KEPT = """
    select {subject} as subject, sum(rows_out) filter (stage = 'publish') as kept,
           sum(rows_in - out_of_scope) filter (stage = 'read') as begun
    from {schema}funnel group by all"""


def _shares(gate: Gate, counts: str, words: str) -> list[Measured]:
    """Shares by subject; `counts` is SQL that gives subject, part and total, and `words` say what is counted."""
    return measured(
        gate.rows(f"""
        select subject, part / nullif(total, 0), format('{{:,}} of {{:,}} {words}', part::bigint, total::bigint)
        from ({counts})""")
    )


class KeptShare(Rule):
    """Published pairs among the rows that were read; rows of other languages do not count."""

    advice: ClassVar = "See which stage takes them, then its reasons."
    rule: Literal["kept_share"]
    per: Per = value("source", PER)
    min: float = value(..., "least share", "share", ge=0, le=1)

    def measure(self, gate: Gate) -> Sequence[Measured]:
        kept = KEPT.format(subject=subject_of(self.per), schema="")
        counts = f"select subject, coalesce(kept, 0) as part, begun as total from ({kept})"
        return _shares(gate, counts, "rows are published")

    def evidence(self, worst: Measured) -> str:
        return f"select stage, reason, count(*) as pairs from reasons{where_subject(worst)} group by all order by pairs desc"


class KeptShareChange(Rule):
    """How far the kept share moved against the previous run, up or down, of sources that both runs have."""

    unit: ClassVar = "change"
    needs_previous: ClassVar = True
    advice: ClassVar = "See which stage lets through more or less than before."
    rule: Literal["kept_share_change"]
    per: Per = value("source", PER)
    max: float = value(..., "largest difference of the two shares, either way", "share", ge=0, le=1)

    def measure(self, gate: Gate) -> Sequence[Measured]:
        now, before = (KEPT.format(subject=subject_of(self.per), schema=name) for name in ("", f"{PREVIOUS}."))
        return measured(
            gate.rows(f"""
            select now.subject, abs(share_now - share_before),
                   format('{{:.1f}}% kept, {{:.1f}}% before', 100 * share_now, 100 * share_before)
            from (select *, coalesce(kept, 0) / nullif(begun, 0) as share_now from ({now})) as now
            join (select *, coalesce(kept, 0) / nullif(begun, 0) as share_before from ({before})) as before
            on now.subject is not distinct from before.subject""")
        )

    def evidence(self, worst: Measured) -> str:
        return (
            "select source, stage, f.rows_out / f.rows_in as share, p.rows_out / p.rows_in as share_before "
            f"from funnel f join {PREVIOUS}.funnel p using (source, stage){where_subject(worst)}"
        )


class DownloadFailure(Rule):
    """Downloads that failed, among those that were tried."""

    advice: ClassVar = "See why they failed: dead links cannot be helped, time-outs and blocked requests can."
    rule: Literal["download_failure"]
    per: Literal["run", "source", "domain"] = value("source", "the whole run, each source, or each host by itself")
    max: float = value(..., "largest share", "share", ge=0, le=1)
    least: int = value(100, "a source or host with fewer downloads is not judged", "downloads", ge=1)

    def measure(self, gate: Gate) -> Sequence[Measured]:
        counts = _by_domain() if self.per == "domain" else _by_source(self.per, "download")
        least = self.least if self.per != "run" else 1
        return _shares(gate, f"from ({counts}) where total >= {least}", "downloads failed")

    def evidence(self, worst: Measured) -> str:
        subject = where_subject(worst, "domain(url)" if self.per == "domain" else "source", "and")
        return (
            "select reason, count(*) as pairs, any_value(detail) as example from reasons "
            f"where stage = 'download'{subject} group by all order by pairs desc"
        )


def _by_source(per: str, stage: str) -> str:
    return f"""
        select {subject_of(per)} as subject, sum(failed) as part, sum(rows_in) as total
        from funnel where stage = '{stage}' group by all"""


def _by_domain() -> str:
    """Without a join by key: what was tried is the plan of shards that are downloaded, what failed stands in the ledger."""
    return """
        select subject, sum(failed) as part, sum(tried) as total from (
            select domain(url) as subject, 0 as failed, count(*) as tried from plan
            where shard in (select shard from shards where stage = 'download') group by all
            union all
            select domain(url), count(*), 0 from ledger where stage = 'download' group by all)
        where subject is not null group by all"""


class UnreadableShare(Rule):
    """Rows of metadata that could not be read, by the counts of the files' own footers."""

    advice: ClassVar = "The metadata is damaged or of another format than the recipe says; fetch it again."
    rule: Literal["unreadable_share"]
    per: Per = value("source", PER)
    max: float = value(..., "largest share", "share", ge=0, le=1)

    def measure(self, gate: Gate) -> Sequence[Measured]:
        return _shares(gate, _by_source(self.per, "read"), "rows cannot be read")

    def evidence(self, worst: Measured) -> str:
        failed = "from ledger where stage = 'read' and outcome = 'failed'"
        return f"select file, row, rows, reasons, detail {failed}{where_subject(worst, keyword='and')}"


class Pairs(Rule):
    """How many pairs are published."""

    unit: ClassVar = "count"
    advice: ClassVar = "See where rows were lost."
    rule: Literal["pairs"]
    per: Per = value("run", PER)
    min: int | None = value(None, "least number", "pairs", ge=0)
    max: int | None = value(None, "largest number", "pairs", ge=0)

    def measure(self, gate: Gate) -> Sequence[Measured]:
        return measured(
            gate.rows(f"""
            select subject, pairs, format('{{:,}} pairs are published', pairs) from (
                select {subject_of(self.per)} as subject,
                       coalesce(sum(rows_out) filter (stage = 'publish'), 0)::bigint as pairs
                from funnel group by all)""")
        )

    def evidence(self, worst: Measured) -> str:
        return f"from funnel{where_subject(worst)}"


class LargestShare(Rule):
    """The largest share that one source, host or caption has of the published pairs."""

    advice: ClassVar = "The set is dominated by one thing; cap it (max_pairs, caption_frequency) or leave it out."
    rule: Literal["largest_share"]
    of: Literal["source", "domain", "caption"] = value(..., "of what")
    max: float = value(..., "largest share", "share", ge=0, le=1)

    def measure(self, gate: Gate) -> Sequence[Measured]:
        counts = f"""
            from (select {self._what} as subject, count(*) as part, (select count(*) from pairs) as total
                  from pairs group by all)
            where subject is not null order by part desc, subject limit 1"""
        return _shares(gate, counts, "published pairs")

    @property
    def _what(self) -> str:
        return "domain(url)" if self.of == "domain" else self.of

    def evidence(self, worst: Measured) -> str:
        return f"select key, source, url, caption, score from pairs{where_subject(worst, self._what)} limit 20"
