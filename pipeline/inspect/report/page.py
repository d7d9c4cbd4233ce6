"""Render the report's page: figures, words, galleries and charts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
from markupsafe import Markup

from pipeline.inspect.readable import count, hours, share, size, templates
from pipeline.inspect.report import charts
from pipeline.inspect.report.diff import Change
from pipeline.inspect.report.figures import OUTCOME_LABELS, Figures, read_figures
from pipeline.inspect.report.gallery import galleries
from pipeline.inspect.report.notices import notices
from pipeline.inspect.report.query import Row
from pipeline.inspect.report.words import blacklist_hits, words
from pipeline.recipe import dump_recipe
from pipeline.run.folder import Run

MAX_CAPTION = 300  # characters that are shown
SHOWN_DOMAINS, SHOWN_HITS = 20, 20


@dataclass(frozen=True)
class Options:
    """Options of a report."""

    seed: int = 0  # chooses samples and galleries
    cards: int = 8  # pairs in a gallery
    prices: Mapping[str, float] | None = None  # stage → price of a worker-hour, in whatever currency


def render(
    run: Run, connection: duckdb.DuckDBPyConnection, options: Options, changes: list[Change] | None, other: str
) -> str:
    """Render the page as HTML. `changes` compares with the run called `other`, or is None."""
    figures = read_figures(run, connection)
    examined, hits = blacklist_hits(run, connection, options.seed)
    environment = templates("pipeline.inspect.report")
    environment.filters |= {"count": count, "share": share, "short": short, "size": size, "hours": hours}
    return environment.get_template("report.html").render(
        run=run,
        figures=figures,
        outcomes=OUTCOME_LABELS,
        notices=notices(figures),
        thresholds=thresholds(figures),
        words=words(connection, options.seed),
        hits=hits[:SHOWN_HITS],
        examined=examined,
        domains=figures["domains"][:SHOWN_DOMAINS],
        galleries=galleries(run, connection, figures, options.seed, options.cards),
        recipe=dump_recipe(run.recipe),
        versions=[json.loads(row["versions"]) for row in figures["versions"]],
        charts={name: Markup(svg) for name, svg in pictures(figures).items()},  # our own SVG: Vega escapes its texts
        throughput=throughput(figures, options.prices or {}),
        span=span(figures),
        options=options,
        changes=changes,
        other=other,
    )


def pictures(figures: Figures) -> dict[str, str]:
    """The charts that have data, as SVG by name."""
    made = {}
    if figures.read:
        made["funnel"] = charts.funnel(figures)
    if figures["combinations"]:
        made["upset"] = charts.upset(figures)
    made |= {f"scores {source}": charts.scores(figures, source) for source in figures.scored}
    if figures["lengths"]:
        made["lengths"] = charts.lengths(figures)
    if figures["sizes"]:
        made["sizes"] = charts.bars(
            [(_side(row["side"]), row["pairs"]) for row in figures["sizes"]], "Shorter side, pixels"
        )
        made["aspects"] = charts.bars(
            [(row["aspect"], row["pairs"]) for row in figures["aspects"]], "Long side by short side"
        )
    if figures["clusters"]:
        sizes = [
            (f"{row['size']}{' or more' if row['size'] == 10 else ''}", row["clusters"]) for row in figures["clusters"]
        ]
        made["clusters"] = charts.bars(sizes, "Clusters by the number of their images")
    if figures["errors"]:
        made["errors"] = charts.errors(figures)
    return made


def thresholds(figures: Figures) -> list[Row]:
    """What other thresholds would keep: a row for each hundredth around those in use, with a share per source."""
    used = {round(bins[0]["min_score"] * 100) for bins in figures.scored.values() if bins[0]["min_score"] is not None}
    around = sorted({at + step for at in used or {26} for step in range(-8, 10, 2)})
    return [
        {
            "threshold": at / 100,
            "used": [
                source for source, bins in figures.scored.items() if round((bins[0]["min_score"] or -1) * 100) == at
            ],
            "shares": {source: figures.passing(source, at / 100) for source in figures.scored},
        }
        for at in around
    ]


def throughput(figures: Figures, prices: Mapping[str, float]) -> list[Row]:
    """Throughput of each stage, and what it cost where a price is given."""
    made = []
    for row in figures["throughput"]:
        seconds, work = row["seconds"], row["worker_seconds"]
        price = prices.get(row["stage"])
        cost = None if price is None or work is None else price * work / 3600
        made.append(row | {"rate": row["rows"] / seconds if seconds else None, "cost": cost})
    return made


def span(figures: Figures) -> dict[str, Any]:
    """When the run began and ended, and the hours of its workers; None where they were not recorded."""
    began = [row["began"] for row in figures["throughput"] if row["began"]]
    ended = [row["ended"] for row in figures["throughput"] if row["ended"]]
    work = [row["worker_seconds"] for row in figures["throughput"] if row["worker_seconds"] is not None]
    return {
        "began": min(began, default=None),
        "ended": max(ended, default=None),
        "seconds": (max(ended) - min(began)).total_seconds() if began and ended else None,
        "worker_seconds": sum(work) if work else None,
        "bytes": sum(row["bytes"] for row in figures["throughput"] if row["stage"] == "publish"),
    }


def _side(side: int) -> str:
    return "below 128" if side == 64 else "2,048 and more" if side == 2048 else f"{side:,} to {2 * side - 1:,}"


def short(text: str | None) -> str:
    """The beginning of a text that may be of any length."""
    text = text or ""
    return text if len(text) <= MAX_CAPTION else f"{text[:MAX_CAPTION]}… ({len(text):,} characters)"
