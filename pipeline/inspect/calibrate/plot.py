"""A calibration as a picture: two distributions of scores for each source, and the thresholds on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from foundation.plots import COLOURS, fonts
from foundation.text import counted
from pipeline.inspect.calibrate.estimate import STEP, Calibration, thresholds
from pipeline.inspect.calibrate.report import at, marks

PAIRS, SHUFFLED = COLOURS[0], COLOURS[1]  # blue and vermilion: told apart with any kind of colour vision
BARS = 40
DASHES: dict[str, Any] = {"min_score": "-", "keep": (0, (5, 2)), "precision": (0, (1, 1.5))}


def plot(calibrations: Sequence[Calibration], out: Path, keep: float, precision: float) -> None:
    """Draws a panel for each source to a PNG 1080 pixels wide, written over.

    Args:
        keep, precision: the thresholds that are drawn besides the run's own; see `calibrate_report.marks`.
    """
    with rc_context({"font.family": fonts(), "font.size": 12}):
        canvas = FigureCanvasAgg(Figure(figsize=(6.75, 4.6 * len(calibrations)), dpi=160, layout="constrained"))
        panels = np.atleast_1d(canvas.figure.subplots(len(calibrations), 1, sharex=True))
        left, right = _range(calibrations)
        for axes, calibration in zip(panels, calibrations, strict=True):
            _draw(axes, calibration)
            _mark(axes, calibration, keep, precision)
            axes.set_xlim(left, right)
        panels[-1].set_xlabel("score (cosine)")
        out.parent.mkdir(parents=True, exist_ok=True)
        canvas.print_png(out)


def _range(calibrations: Sequence[Calibration]) -> tuple[float, float]:
    """The scores that all but one in a thousand of any source and kind lie between, with a margin."""
    edges = [
        thresholds()[(share < 0.999) & (share > 0.001)]
        for calibration in calibrations
        for share in (calibration.kept, calibration.shuffled_kept)
    ]
    used = [calibration.min_score for calibration in calibrations if calibration.min_score is not None]
    inside = np.concatenate([*edges, used])
    return (inside.min() - 0.02, inside.max() + 0.02) if len(inside) else (-1.0, 1.0)


def _draw(axes: Axes, calibration: Calibration) -> None:
    bar = _bar(calibration)
    edges = np.append(thresholds()[::bar], thresholds()[-1] + bar * STEP)
    for share, colour in ((calibration.shuffled_kept, SHUFFLED), (calibration.kept, PAIRS)):
        heights = 100 * (share[::bar] - np.append(share[bar::bar], 0))
        axes.stairs(heights, edges, fill=True, color=colour, alpha=0.3, linewidth=0)
        axes.stairs(heights, edges, color=colour, linewidth=2)
    axes.set_ylabel(f"percent per {bar * STEP:g}")
    axes.set_ylim(0, axes.dataLim.ymax * 1.05)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelbottom=True)


def _bar(calibration: Calibration) -> int:
    """Thresholds in one bar: enough that the picture has about BARS of them."""
    left, right = _range([calibration])
    return min((5, 10, 20, 40, 50, 100), key=lambda bar: abs((right - left) / (bar * STEP) - BARS))


def _mark(axes: Axes, calibration: Calibration, keep: float, precision: float) -> None:
    """A line for each threshold, and what colours and lines mean, above the panel, where it hides nothing."""
    handles: list[Any] = [
        Patch(facecolor=PAIRS, alpha=0.6, label=f"{counted(calibration.pairs, 'pair')} of the run"),
        Patch(facecolor=SHUFFLED, alpha=0.6, label=f"{counted(calibration.shuffled, 'image')} with another's caption"),
    ]
    for mark in marks(calibration, keep, precision):
        kept, _, precise = at(calibration, mark.threshold)
        figures = [mark.name]
        figures += [f"keeps {kept:.0%}"] if mark.kind != "keep" else []
        figures += [f"{precise:.0%} precise"] if mark.kind != "precision" else []
        line = axes.axvline(mark.threshold, color="#222222", linewidth=1.8, linestyle=DASHES[mark.kind])
        line.set_label(f"{mark.threshold:g}: {', '.join(figures)}")
        handles.append(line)
    legend = axes.legend(handles=handles, title=calibration.source, loc="lower left", bbox_to_anchor=(-0.02, 1), alignment="left",
                         frameon=False, fontsize=12, handlelength=1.8, labelspacing=0.25)  # fmt: skip
    legend.get_title().set(fontsize=15, fontweight="bold")
