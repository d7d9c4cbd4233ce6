"""An ablation's results as a table, a picture and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from foundation.text import counted
from trainer.ablate import FIGURES, Result, Spread, spreads, verdict
from trainer.evaluate.curve import COLOURS, fonts

HEADINGS = {
    "mean_recall": "mean recall",
    "image_to_text_r1": "image → text R@1",
    "text_to_image_r1": "text → image R@1",
}


def ablation_table(results: Sequence[Result]) -> Table:
    """A row for each evaluation set and data set: mean ± standard deviation over seeds, percent."""
    first = results[0]
    seeds = len({result.seed for result in results})
    training = f"Same training, {counted(first.steps, 'step')}, {counted(seeds, 'seed')}"
    table = Table(title=f"{training}; percent, mean ± standard deviation over seeds")
    for heading in ("evaluated on", "trained on", "pairs"):
        table.add_column(heading, justify="right" if heading == "pairs" else "left")
    for figure in FIGURES:
        table.add_column(HEADINGS[figure], justify="right")
    pairs = {result.data: result.pairs for result in results}
    figures = {figure: spreads(results, figure) for figure in FIGURES}
    for evaluation, by_data in figures["mean_recall"].items():
        for name in by_data:
            cells = [_cell(figures[figure].get(evaluation, {}).get(name)) for figure in FIGURES]
            table.add_row(evaluation, name, f"{pairs[name]:,}", *cells, end_section=name == list(by_data)[-1])
    return table


def verdicts(results: Sequence[Result]) -> list[str]:
    """A sentence for each evaluation set."""
    return [f"{evaluation}: {verdict(by_data)}." for evaluation, by_data in spreads(results).items()]


def write_ablation(results: Sequence[Result], folder: Path) -> None:
    """ablation.json (all figures, the verdicts) and ablation.png, in `folder`."""
    content = {"results": [asdict(result) for result in results], "verdicts": verdicts(results)}
    (folder / "ablation.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    plot_ablation(results, folder / "ablation.png")


def plot_ablation(results: Sequence[Result], out: Path) -> None:
    """One panel for each evaluation set: a dot for each seed, a bar at the mean of each data set (PNG)."""
    by_evaluation = spreads(results)
    with rc_context({"font.family": fonts(), "font.size": 11}):
        canvas = FigureCanvasAgg(Figure(figsize=(2 + 3.2 * len(by_evaluation), 4.6), dpi=160, layout="constrained"))
        panels = canvas.figure.subplots(1, len(by_evaluation), sharey=True, squeeze=False)[0]
        top = max(value for sets in by_evaluation.values() for spread in sets.values() for value in spread.values)
        for axes, (evaluation, sets) in zip(panels, by_evaluation.items(), strict=True):
            _draw(axes, evaluation, sets)
            axes.set_ylim(0, top * 1.15)
        panels[0].set_ylabel("mean recall, percent; a dot is a seed")
        canvas.print_png(out)


def _draw(axes: Axes, evaluation: str, sets: dict[str, Spread]) -> None:
    for column, spread in enumerate(sets.values()):
        colour = COLOURS[column % len(COLOURS)]
        axes.plot([column - 0.25, column + 0.25], [spread.mean] * 2, color=colour, linewidth=3)
        axes.plot([column] * len(spread.values), spread.values, "o", color=colour, alpha=0.6, markersize=7)
        axes.annotate(f"{spread.mean:.1f}", (column + 0.3, spread.mean), va="center", color=colour)
    axes.set_xticks(range(len(sets)), list(sets))
    axes.set_xlim(-0.6, len(sets) - 0.2)
    axes.set_title(evaluation, loc="left", fontsize=11)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _cell(spread: Spread | None) -> str:
    return "–" if spread is None else f"{spread.mean:.1f} ± {spread.deviation:.1f}"
