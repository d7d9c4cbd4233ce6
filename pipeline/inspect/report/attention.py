"""What needs attention: rules over the figures of a run, each with what it saw and where to look next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.inspect.report.figures import Figures

FAILING, UNREADABLE, DENSE, DOMINANT, MARGIN = 0.3, 0.01, 0.08, 0.25, 0.02


@dataclass(frozen=True)
class Notice:
    """One thing that a person should look at; `weight` orders them."""

    weight: float
    title: str
    text: str
    query: str  # for `zhclip sql`


def notices(found: Figures, most: int = 3) -> list[Notice]:
    """The most pressing ones, at most `most`; empty where nothing stands out."""
    rules = (_unfinished, _missing, _unreadable, _contamination, _downloads, _domains, _threshold, _reasons, _sources)
    seen = [notice for rule in rules for notice in rule(found)]
    return sorted(seen, key=lambda notice: -notice.weight)[:most]


def _unfinished(found: Figures) -> Iterator[Notice]:
    if found["todo"]:
        first = found["todo"][0]
        done = (
            f"{first['shards']:,} of {first['expected']:,} shards"
            if first["expected"]
            else f"{first['shards']:,} shards"
        )
        yield Notice(
            90,
            "The run is not finished",
            f"The {first['stage']} stage has {done}. All figures are of what is done.",
            "from stages",
        )


def _missing(found: Figures) -> Iterator[Notice]:
    lost = sum(row["waiting"] for row in found["funnel"])
    if found.complete and lost:
        text = f"{lost:,} rows are neither published nor in the ledger. Run zhclip verify, which names each place."
        yield Notice(100, "Rows do not add up", text, "from funnel")


def _unreadable(found: Figures) -> Iterator[Notice]:
    for row in found["funnel"]:
        share = row["unreadable"] / max(1, row["read"])
        if share > UNREADABLE:
            text = f"{row['unreadable']:,} rows of {row['source']} ({share:.1%}) could not be read; the ledger names the places."
            yield Notice(
                70 + share,
                "Metadata is damaged",
                text,
                "select file, row, rows, detail from rejected where stage = 'read'",
            )


def _contamination(found: Figures) -> Iterator[Notice]:
    if not found.run.recipe.images.test_sets and found.published:
        text = (
            "No evaluation images were given (images.test_sets), so nobody knows whether some are in this training set."
        )
        yield Notice(
            45,
            "Test sets were not looked for",
            text,
            "select reason, count(*) from reasons where reason like 'test%' group by all",
        )


def _downloads(found: Figures) -> Iterator[Notice]:
    tried = sum(
        row["read"] - row["rejected_by_rules"] - row["unreadable"] - row["out_of_scope"] for row in found["funnel"]
    )
    failed = sum(row["not_fetched"] for row in found["funnel"])
    if tried and failed / tried > FAILING:
        text = f"{failed:,} of {tried:,} images were not fetched ({failed / tried:.1%}). zhclip retry fetches again what may pass."
        yield Notice(
            60,
            "Many downloads fail",
            text,
            "select reason, count(*) from reasons where stage = 'download' group by all",
        )


def _domains(found: Figures) -> Iterator[Notice]:
    planned = sum(row["planned"] for row in found["domains"])
    mean = sum(row["failed"] for row in found["domains"]) / max(1, planned)
    worst = [
        row
        for row in found["domains"]
        if row["planned"] >= max(20, planned / 200) and row["failed"] > max(0.2, 2 * mean) * row["planned"]
    ]
    for row in sorted(worst, key=lambda row: -row["failed"])[:1]:
        share = row["failed"] / row["planned"]
        text = f"{row['failed']:,} of {row['planned']:,} images of {row['domain']} were not fetched ({share:.0%}; all {mean:.0%})."
        yield Notice(
            55,
            "One domain fails far more than others",
            text,
            "select reason, count(*) from reasons where stage = 'download' group by all",
        )


def _threshold(found: Figures) -> Iterator[Notice]:
    for source, bins in found.scored.items():
        threshold = bins[0]["min_score"]
        if threshold is None:
            continue
        total, at = sum(row["pairs"] for row in bins), round(threshold * 100)
        near = sum(row["pairs"] for row in bins if at - 2 <= row["bin"] < at + 2)
        if near / total > DENSE:
            text = (
                f"{near / total:.1%} of the scored pairs of {source} lie within {MARGIN} of the threshold {threshold:.2f}: "
                "a small change moves many. zhclip calibrate shows what it means."
            )
            yield Notice(
                30 + near / total,
                "The threshold cuts through the crowd",
                text,
                "select source, round(score, 2) as score, count(*) from decisions group by all order by all",
            )


def _reasons(found: Figures) -> Iterator[Notice]:
    for reason, (stage, pairs, only) in found.reason_totals.items():
        share = only / max(1, found.read)
        if share > DOMINANT:
            text = f"{reason} alone drops {only:,} rows ({share:.1%} of all that were read; {pairs:,} have it among others)."
            yield Notice(
                40 + share,
                f"One reason of the {stage} stage dominates",
                text,
                f"from rejected where list_contains(reasons, '{reason}') limit 20",
            )


def _sources(found: Figures) -> Iterator[Notice]:
    mean = found.published / max(1, found.read)
    for row in found["funnel"]:
        share = row["published"] / max(1, row["read"])
        if found.complete and share < mean / 2:
            text = f"{share:.1%} of {row['source']} is published, of all sources {mean:.1%}."
            yield Notice(
                35 + mean - share,
                "A source loses far more than the others",
                text,
                f"from funnel where source = '{row['source']}'",
            )
