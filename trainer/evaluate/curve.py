"""Recall against pairs seen: the paper's Figure 2, from a training's log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from foundation.errors import InvalidInput
from foundation.plots import COLOURS, fonts
from trainer.evaluate.retrieval import BOTH, Direction

Figures = Literal["mean", "r1", "r5", "r10"]
# Okabe and Ito's colours, which people with any kind of colour vision tell apart.
STYLES: dict[Direction, str] = {"text_to_image": "-", "image_to_text": "--"}
LABELS: dict[Direction, str] = {"text_to_image": "text → image", "image_to_text": "image → text"}
NAMES: dict[str, str] = {"mean": "mean of R@1, R@5, R@10", "r1": "R@1", "r5": "R@5", "r10": "R@10"}


class CurveError(InvalidInput, ValueError):
    """A log that no curve can be drawn from; the message names the file and what was expected."""


@dataclass
class Curves:
    """What a log holds of evaluations."""

    points: dict[tuple[str, Direction], list[tuple[int, float]]] = field(default_factory=dict)  # pairs seen, percent
    stages: dict[str, int] = field(default_factory=dict)  # name → pairs seen where it begins


def plot_curve(log: Path, out: Path, figure: Figures = "mean") -> None:
    """Draws one line per evaluation set and direction, and where each stage begins, to a PNG (1600 by 960 pixels).

    Args:
        log: `log.jsonl` of a training; a last line that a kill cut off is left out.
        out: the PNG, written over.
        figure: which recall, in percent.

    Raises:
        CurveError: there is no log, or it holds no evaluation.
    """
    curves = read_curves(log, figure)
    with rc_context({"font.family": fonts(), "font.size": 11}):
        canvas = FigureCanvasAgg(Figure(figsize=(10, 6), dpi=160, layout="constrained"))
        axes = canvas.figure.subplots()
        _draw_lines(axes, curves)
        _dress(axes, curves, NAMES[figure])
        _mark_stages(axes, curves)
        out.parent.mkdir(parents=True, exist_ok=True)
        canvas.print_png(out)


def read_curves(log: Path, figure: Figures = "mean") -> Curves:
    """Points of each set and direction in the order of pairs seen; of two lines for the same point the later one holds.

    Raises:
        CurveError: there is no log, or it holds no evaluation.
    """
    if not log.is_file():
        raise CurveError(f"{log}: expected the log.jsonl of a training; there is no such file")
    points_of: dict[tuple[str, Direction], dict[int, float]] = {}
    stages: dict[str, int] = {}
    seen = 0
    for line in _lines(log):
        stages.setdefault(line["stage"], seen)
        seen = line["pairs_seen"]
        for direction in BOTH:
            if "evaluation" in line and f"{direction}_{figure}" in line:
                points_of.setdefault((line["evaluation"], direction), {})[seen] = line[f"{direction}_{figure}"]
    if not points_of:
        raise CurveError(f"{log}: expected lines with evaluation, pairs_seen and text_to_image_{figure}; found none")
    return Curves({name: sorted(points.items()) for name, points in points_of.items()}, stages)


def _lines(log: Path) -> Iterator[dict[str, Any]]:
    for text in log.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue  # cut off by a kill
        if isinstance(line, dict) and "pairs_seen" in line and "stage" in line:
            yield line


def _draw_lines(axes: Axes, curves: Curves) -> None:
    names = list(dict.fromkeys(name for name, _ in curves.points))
    for (name, direction), points in curves.points.items():
        seen, recall = zip(*points, strict=True)
        axes.plot(
            seen, recall, STYLES[direction], color=COLOURS[names.index(name) % len(COLOURS)], linewidth=2,
            marker="o", markersize=4 if len(points) <= 40 else 0, label=f"{name}, {LABELS[direction]}: {recall[-1]:.1f}",
        )  # fmt: skip


def _mark_stages(axes: Axes, curves: Curves) -> None:
    """A band for each stage, its name at the top."""
    ends = [*list(curves.stages.values())[1:], axes.get_xlim()[1]]
    for number, ((name, begin), end) in enumerate(zip(curves.stages.items(), ends, strict=True)):
        axes.axvspan(begin, end, color="#f2f2f2" if number % 2 else "#ffffff", zorder=0, linewidth=0)
        if number:
            axes.axvline(begin, color="#888888", linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        axes.annotate(
            name, (begin, 1), xycoords=("data", "axes fraction"), xytext=(5, -6), textcoords="offset points",
            va="top", color="#555555", fontsize=10,
        )  # fmt: skip


def _dress(axes: Axes, curves: Curves, label: str) -> None:
    last = max(points[-1][0] for points in curves.points.values())
    best = max(recall for points in curves.points.values() for _, recall in points)
    axes.set_xlim(0, last * 1.02 or 1)
    axes.set_ylim(0, min(100, best * 1.15) or 1)
    axes.set_xlabel("pairs seen")
    axes.set_ylabel(f"{label}, percent")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: short(number)))
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("zero-shot retrieval while training", loc="left", fontsize=13, pad=12)
    figure = axes.get_figure()
    if figure is not None:
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=10)


def short(number: float) -> str:
    """1500000 → 1.5 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= size:
            return f"{number / size:.4g}{unit}"
    return f"{number:.4g}"
