"""Notices of a report: rules over the figures of a run, each with what it saw and a query for a closer look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from foundation.sql import literal
from foundation.text import counted
from pipeline.inspect.report.figures import Figures

FAILED_DOWNLOADS = 0.3  # share of the images that were tried
UNREADABLE = 0.01  # share of a source's rows
NEAR_THRESHOLD = 0.08  # share of a source's scored pairs
MARGIN = 0.02  # distance from the threshold that counts as near
DOMINANT = 0.25  # share of all rows that one reason alone drops
MIN_PLANNED = 20  # images of a domain


@dataclass(frozen=True)
class Notice:
    """Something that a person should look at; `weight` orders notices."""

    weight: float
    title: str
    text: str
    query: str  # for `zhclip sql`


@dataclass(frozen=True)
class Finding:
    """One case of a rule."""

    weight: float
    text: str
    names: dict[str, str] = field(default_factory=dict)  # for the title and query of the rule


@dataclass(frozen=True)
class NoticeRule:
    """A rule: its title and query, with `{name}` for names of a finding, and the function that finds its cases."""

    title: str
    query: str
    find: Callable[[Figures], Iterator[Finding]]


def notices(figures: Figures, limit: int = 3) -> list[Notice]:
    """The notices of largest weight, at most `limit`; empty where nothing stands out."""
    raised = [
        Notice(finding.weight, rule.title.format(**finding.names), finding.text, rule.query.format(**finding.names))
        for rule in RULES
        for finding in rule.find(figures)
    ]
    return sorted(raised, key=lambda notice: -notice.weight)[:limit]


def _unfinished(figures: Figures) -> Iterator[Finding]:
    for stage in figures["todo"][:1]:
        expected = stage["expected"]
        shards = (
            f"{stage['shards']:,} of {counted(expected, 'shard')}" if expected else counted(stage["shards"], "shard")
        )
        text = f"The {stage['stage']} stage has {shards}. All figures are of what is done."
        yield Finding(90, text)


def _missing(figures: Figures) -> Iterator[Finding]:
    lost = sum(row["waiting"] for row in figures["funnel"])
    if figures.complete and lost:
        yield Finding(
            100,
            f"Neither published nor in the ledger: {counted(lost, 'row')}. Run zhclip verify, which names each place.",
        )


def _unreadable(figures: Figures) -> Iterator[Finding]:
    for row in figures["funnel"]:
        share = row["unreadable"] / max(1, row["read"])
        if share > UNREADABLE:
            rows = f"{counted(row['unreadable'], 'row')} of {row['source']} ({share:.1%})"
            yield Finding(70 + share, f"{rows} could not be read; the ledger names the places.")


def _contamination(figures: Figures) -> Iterator[Finding]:
    if not figures.run.recipe.images.test_sets and figures.published:
        yield Finding(
            45,
            "The recipe names no evaluation images (images.test_sets), so it is not known whether some are in this training set.",
        )


def _downloads(figures: Figures) -> Iterator[Finding]:
    for row in figures["stage_funnel"]:
        if row["stage"] == "download" and row["failed"] > FAILED_DOWNLOADS * row["rows_in"]:
            share = row["failed"] / row["rows_in"]
            counts = f"{row['failed']:,} of {counted(row['rows_in'], 'image')} could not be fetched ({share:.1%})"
            yield Finding(60, f"{counts}. zhclip retry fetches again what may pass.")


def _domains(figures: Figures) -> Iterator[Finding]:
    planned = sum(row["planned"] for row in figures["domains"])
    mean = sum(row["failed"] for row in figures["domains"]) / max(1, planned)
    failing = [
        row
        for row in figures["domains"]
        if row["planned"] >= max(MIN_PLANNED, planned / 200) and row["failed"] > max(0.2, 2 * mean) * row["planned"]
    ]
    for row in sorted(failing, key=lambda row: -row["failed"])[:1]:
        counts = f"{row['failed']:,} of {counted(row['planned'], 'image')} of {row['domain']} could not be fetched"
        yield Finding(55, f"{counts} ({row['failed'] / row['planned']:.0%}; all {mean:.0%}).")


def _threshold(figures: Figures) -> Iterator[Finding]:
    for source, bins in figures.scored.items():
        threshold = bins[0]["min_score"]
        if threshold is None:
            continue
        total, at = sum(row["pairs"] for row in bins), round(threshold * 100)
        near = sum(row["pairs"] for row in bins if at - 2 <= row["bin"] < at + 2)
        if near / total > NEAR_THRESHOLD:
            yield Finding(
                30 + near / total,
                f"{near / total:.1%} of the scored pairs of {source} lie within {MARGIN} of the threshold {threshold:.2f}: "
                "a small change moves many. zhclip calibrate shows what it means.",
            )


def _reasons(figures: Figures) -> Iterator[Finding]:
    for reason, (stage, pairs, only) in figures.reason_totals.items():
        share = only / max(1, figures.read)
        if share > DOMINANT:
            rows = f"{counted(only, 'row')} ({share:.1%} of all that were read; {pairs:,} with others)"
            yield Finding(40 + share, f"{reason} alone drops {rows}.", {"stage": stage, "reason": reason})


def _sources(figures: Figures) -> Iterator[Finding]:
    mean = figures.published / max(1, figures.read)
    for row in figures["funnel"]:
        share = row["published"] / max(1, row["read"])
        if figures.complete and share < mean / 2:
            text = f"{share:.1%} of {row['source']} is published, of all sources {mean:.1%}."
            yield Finding(35 + mean - share, text, {"source": literal(row["source"])})


DOWNLOAD_REASONS = "select reason, count(*) from reasons where stage = 'download' group by all"
RULES = (
    NoticeRule("The run is not finished", "from stages", _unfinished),
    NoticeRule("Rows do not add up", "from funnel", _missing),
    NoticeRule("Metadata is damaged", "select file, row, rows, detail from rejected where stage = 'read'", _unreadable),
    NoticeRule(
        "Test sets were not looked for",
        "select reason, count(*) from reasons where reason like 'test%' group by all",
        _contamination,
    ),
    NoticeRule("Many downloads fail", DOWNLOAD_REASONS, _downloads),
    NoticeRule("One domain fails far more than others", DOWNLOAD_REASONS, _domains),
    NoticeRule(
        "The threshold cuts through the crowd",
        "select source, round(score, 2) as score, count(*) from decisions group by all order by all",
        _threshold,
    ),
    NoticeRule(
        "One reason of the {stage} stage dominates",
        "from rejected where list_contains(reasons, '{reason}') limit 20",
        _reasons,
    ),
    NoticeRule("A source loses far more than the others", "from funnel where source = {source}", _sources),
)
