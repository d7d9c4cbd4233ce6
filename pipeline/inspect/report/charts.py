"""The report's charts: Vega-Lite (through Altair), drawn to SVG here, so that a reader needs no script.

Colours are CSS variables of the page, which changes them with light, dark and print; they come from Okabe and Ito's palette
(https://jfly.uni-koeln.de/color/). Each chart is drawn twice, for a wide and for a narrow screen.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from itertools import cycle, islice
from typing import Any

import altair as alt
import vl_convert

from pipeline.inspect.report.figures import OUTCOME_LABELS, Figures
from pipeline.inspect.report.query import Row

WIDE, NARROW = 740, 290  # pixels of the plot itself
FONT = "system-ui, 'PingFang SC', 'Noto Sans CJK SC', 'Microsoft YaHei', sans-serif"
COLOURS = [f"var(--c{number})" for number in range(1, 9)]
OUTCOME_COLOURS = dict(
    zip(OUTCOME_LABELS, [*islice(cycle(COLOURS), len(OUTCOME_LABELS) - 1), "var(--quiet)"], strict=True)
)
LARGEST = 12  # combinations and reasons in the UpSet plot


def drawn(make: Callable[[int], Any], label: str) -> str:
    """Both sizes of a chart as SVG, the unsuited one hidden by the page's style."""
    sizes = {"wide": WIDE, "narrow": NARROW}
    return "".join(f'<figure class="{name}">{_svg(make(width), label)}</figure>' for name, width in sizes.items())


def funnel(figures: Figures) -> str:
    """Where the rows of each source went: a bar a source, as shares."""
    order = [name for name in OUTCOME_LABELS if any(row[name] for row in figures["funnel"])]
    values = [
        {"source": row["source"], "place": OUTCOME_LABELS[name], "rows": row[name], "order": position}
        for row in figures["funnel"]
        for position, name in enumerate(order)
        if row[name]
    ]
    sources = [row["source"] for row in figures["funnel"]]

    def make(width: int) -> alt.Chart:
        colour = alt.Scale(
            domain=[OUTCOME_LABELS[name] for name in order], range=[OUTCOME_COLOURS[name] for name in order]
        )
        return (
            alt.Chart(_data(values), width=width, height=alt.Step(34))
            .mark_bar(size=24)
            .encode(
                x=alt.X("rows:Q", stack="normalize", title=None, axis=alt.Axis(format="%", tickCount=5)),
                y=alt.Y("source:N", sort=sources, title=None),
                color=alt.Color("place:N", scale=colour, legend=_legend(1 if width == NARROW else 4)),
                order="order:Q",
            )
        )

    return drawn(make, "Share of each source's rows by where they ended")


def upset(figures: Figures) -> str:
    """How reasons overlap: a bar for each combination, its reasons as dots below it."""
    combinations = figures["combinations"][:LARGEST]
    totals = {
        name: sum(row["pairs"] for row in combinations if name in row["reasons"])
        for name in itertools.chain.from_iterable(row["reasons"] for row in combinations)
    }
    names = sorted(totals, key=lambda name: (-totals[name], name))
    bars = [{"set": number, "pairs": row["pairs"]} for number, row in enumerate(combinations)]
    dots = [
        {"set": number, "reason": name, "there": name in row["reasons"]}
        for number, row in enumerate(combinations)
        for name in names
    ]

    def make(width: int) -> alt.VConcatChart:
        inner = width - 130
        x = alt.X("set:O", axis=None)
        bar = alt.Chart(_data(bars), width=inner, height=130).encode(
            x=x, y=alt.Y("pairs:Q", title=None, axis=_counts())
        )
        top = bar.mark_bar(color=COLOURS[0])
        if width == WIDE:  # no room for numbers otherwise
            top += bar.mark_text(dy=-7, fontSize=10).encode(text=alt.Text("pairs:Q", format=","))
        matrix = alt.Chart(_data(dots), width=inner, height=alt.Step(19)).encode(
            x=x, y=alt.Y("reason:N", sort=names, title=None, axis=alt.Axis(labelLimit=190, domain=False, ticks=False))
        )
        colour = alt.condition("datum.there", alt.value("var(--ink)"), alt.value("var(--line)"))
        below = matrix.mark_circle(size=70 if width == WIDE else 36, opacity=1).encode(color=colour)
        return alt.vconcat(top, below, spacing=6)

    return drawn(make, "Pairs dropped by each combination of reasons")


def scores(figures: Figures, source: str) -> str:
    """Histogram of one source's scores with its threshold."""
    bins = figures.scored[source]
    threshold = bins[0]["min_score"]
    values = [{"score": row["bin"] / 100, "end": (row["bin"] + 1) / 100, "pairs": row["pairs"]} for row in _crowd(bins)]

    def make(width: int) -> alt.Chart:
        colour = (
            COLOURS[0]
            if threshold is None
            else alt.condition(f"datum.score >= {threshold - 0.0001}", alt.value(COLOURS[0]), alt.value("var(--quiet)"))
        )
        bars = alt.Chart(_data(values), width=width, height=150).mark_bar(binSpacing=0.5).encode(
            x=alt.X("score:Q", bin="binned", title="score", axis=alt.Axis(tickCount=width // 75, format=".2f")), x2="end:Q",
            y=alt.Y("pairs:Q", title=None, axis=_counts()),
            color=alt.value(colour) if isinstance(colour, str) else colour,
        )  # fmt: skip
        if threshold is None:
            return bars
        line = alt.Chart(_data([{"at": threshold, "text": f"{threshold:.2f}"}])).encode(x="at:Q")
        mark = line.mark_rule(color="var(--ink)", strokeDash=[4, 3])
        return bars + mark + line.mark_text(align="left", dx=4, y=-4, color="var(--ink)").encode(text="text:N")

    return drawn(make, f"Scores of {source}; pairs left of the line are dropped")


def lengths(figures: Figures) -> str:
    """Caption lengths of kept and dropped pairs."""
    values = [row | {"end": row["characters"] + 1} for row in figures["lengths"]]
    return drawn(
        lambda width: _two_sides(values, width, "characters", "characters (61: more than 60)"), "Caption lengths"
    )


def errors(figures: Figures) -> str:
    """Download errors by class over the time of the run."""
    totals: dict[str, int] = {}
    for row in figures["errors"]:
        totals[row["reason"]] = totals.get(row["reason"], 0) + row["pairs"]
    named = sorted(totals, key=lambda name: -totals[name])[:6]
    values = [
        {
            "at": row["began"] * 1000,
            "kind": row["reason"] if row["reason"] in named else "others",
            "pairs": row["pairs"],
        }
        for row in figures["errors"]
    ]
    kinds = [*named, *(["others"] if len(totals) > len(named) else [])]

    def make(width: int) -> alt.Chart:
        colour = alt.Scale(domain=kinds, range=[*COLOURS[: len(named)], "var(--quiet)"][: len(kinds)])
        bar, times = max(4, width // 28), alt.Axis(tickCount=width // 90, format=_clock(values))
        return (
            alt.Chart(_data(values), width=width, height=170)
            .mark_bar(size=bar)
            .encode(
                x=alt.X("at:T", scale=alt.Scale(type="utc", padding=bar), title="time of commit, UTC", axis=times),
                y=alt.Y("sum(pairs):Q", title=None, axis=_counts()),
                color=alt.Color("kind:N", scale=colour, legend=_legend(1 if width == NARROW else 4)),
            )
        )

    return drawn(make, "Failed downloads by class over time")


def _clock(values: list[dict[str, Any]]) -> str:
    """As much of a time as tells its moments (`at`, ms) apart."""
    minutes = (max(row["at"] for row in values) - min(row["at"] for row in values)) / 60_000
    return "%H:%M:%S" if minutes < 10 else "%H:%M" if minutes < 24 * 60 else "%m-%d %H:%M"


def bars(values: list[tuple[str, int]], label: str) -> str:
    """A bar for each of a few named counts, in their order."""
    data = [{"name": name, "pairs": pairs} for name, pairs in values]
    room = alt.Scale(domainMax=1.4 * max((pairs for _, pairs in values), default=1), nice=False)  # for the numbers
    base = alt.Chart(_data(data), width=NARROW - 60, height=alt.Step(24)).encode(
        x=alt.X("pairs:Q", axis=None, scale=room),
        y=alt.Y("name:N", sort=None, title=None, axis=alt.Axis(domain=False, ticks=False)),
    )
    text = base.mark_text(align="left", dx=4, color="var(--ink)").encode(text=alt.Text("pairs:Q", format=","))
    return f"<figure>{_svg(base.mark_bar(color=COLOURS[0], size=15) + text, label)}</figure>"  # fits every screen


def _two_sides(values: list[Row], width: int, column: str, title: str) -> alt.Chart:
    colour = alt.Scale(domain=["kept", "dropped"], range=[COLOURS[0], COLOURS[1]])
    return (
        alt.Chart(_data(values), width=width, height=150)
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X(f"{column}:Q", title=title, scale=alt.Scale(nice=False)),
            y=alt.Y("pairs:Q", title=None, axis=_counts()),
            color=alt.Color("side:N", scale=colour, legend=_legend(2)),
        )
    )


def _crowd(bins: list[Row]) -> list[Row]:
    """The bins without a thin tail on either side, which would press the rest together."""
    total, seen, kept = sum(row["pairs"] for row in bins), 0, []
    for row in bins:
        if 0.001 * total <= seen + row["pairs"] and seen <= 0.999 * total:
            kept.append(row)
        seen += row["pairs"]
    return kept


def _data(values: list[Row]) -> alt.InlineData:
    return alt.InlineData(values=values)


def _counts() -> alt.Axis:
    return alt.Axis(format="~s", tickCount=4, domain=False, ticks=False)


def _legend(columns: int) -> alt.Legend:
    return alt.Legend(orient="top", title=None, columns=columns, symbolType="square", labelLimit=200)


def _svg(chart: Any, label: str) -> str:
    styled = (
        chart.properties(description=label)
        .configure(background="transparent", font=FONT)
        .configure_axis(
            labelColor="var(--soft)", titleColor="var(--soft)", gridColor="var(--line)", domainColor="var(--line)",
            tickColor="var(--line)", labelFontSize=12, titleFontSize=12, titleFontWeight="normal",
        )
        .configure_axisX(grid=False)
        .configure_legend(labelColor="var(--ink)", labelFontSize=12, columnPadding=14)
        .configure_text(color="var(--soft)", fontSize=12)
        .configure_view(stroke=None)
    )  # fmt: skip
    spec: dict[str, Any] = styled.to_dict(validate=False)
    spec["padding"] = {"left": 14, "right": 14, "top": 5, "bottom": 5}  # a reader's font may be wider
    return str(vl_convert.vegalite_to_svg(spec))
