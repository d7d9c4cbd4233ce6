"""A calibration as tables on the terminal, and as JSON and Parquet in the run's folder."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from pipeline.inspect.calibrate.estimate import STEP, Calibration, thresholds
from pipeline.run.files import write_atomically
from pipeline.run.folder import Run
from pipeline.run.parquet import write_parquet

FORMULA = "precision(t) = 1 - mismatched * shuffled_kept(t) / kept(t)"
ASSUMPTION = "pairs whose caption belongs to another image score as shuffled pairs do"
NOISE = 0.005  # of a score; bfloat16 gives 0.0004 on the demo, as other batches round otherwise
ROWS = 14  # thresholds on the terminal, besides those with a meaning


class Mark(NamedTuple):
    """A threshold with a meaning."""

    kind: Literal["min_score", "keep", "precision"]
    threshold: float
    name: str


def marks(one: Calibration, keep: float, precision: float) -> list[Mark]:
    """The run's own threshold, the one that keeps `keep`, and the one that reaches `precision`; those that there are."""
    reached = one.reaching(precision)
    found = [Mark("keep", one.keeping(keep), f"keeps {keep:.0%}")]
    if one.min_score is not None:
        found.insert(0, Mark("min_score", one.min_score, "min_score of this run"))
    if reached is not None and reached > -1:
        found.append(Mark("precision", reached, f"{precision:.0%} precise"))
    return found


def as_json(run: Run, found: Sequence[Calibration], keep: float, precision: float) -> dict[str, Any]:
    """Everything but the curves, in plain JSON types."""
    return {
        "run": str(run.folder),
        "score": run.recipe.score.model_dump(mode="json"),
        "formula": FORMULA,
        "assumption": ASSUMPTION,
        "sources": {one.source: _source(one, keep, precision) for one in found},
    }


def write(run: Run, found: Sequence[Calibration], folder: Path, keep: float, precision: float) -> None:
    """Writes calibration.json and calibration.parquet (a row per source and threshold: the shares) to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_parquet(curves(found), folder / "calibration.parquet")
    text = json.dumps(as_json(run, found, keep, precision), ensure_ascii=False, indent=1)
    write_atomically(folder / "calibration.json", text + "\n")


def curves(found: Sequence[Calibration]) -> pa.Table:
    """Columns source, threshold, kept, shuffled_kept, precision (float64; null where nothing is kept)."""
    return pa.concat_tables(
        pa.table(
            {
                "source": pa.repeat(pa.scalar(one.source), len(one.kept)),
                "threshold": thresholds(),
                "kept": one.kept,
                "shuffled_kept": one.shuffled_kept,
                "precision": pa.array(one.precision, from_pandas=True),
            }
        )
        for one in found
    )


def print_tables(found: Sequence[Calibration], keep: float, precision: float, console: Console) -> None:
    """A table of thresholds for each source, and the formula behind its last column."""
    for one in found:
        console.print(_table(one, keep, precision))
        if one.reaching(precision) is None:
            console.print(f"no threshold is estimated to be {precision:.0%} precise")
        elif one.reaching(precision) == -1:
            console.print(f"estimated to be {precision:.0%} precise without any threshold")
        if one.rescored_difference > NOISE:
            console.print(
                f"[yellow]scored again here, pairs differ by up to {one.rescored_difference:.3f} from their stored scores: another "
                "machine, number type or model[/]"
            )
    console.print(f"{FORMULA}\nassuming that {ASSUMPTION}", style="dim", highlight=False)


def _table(one: Calibration, keep: float, precision: float) -> Table:
    share = f"{one.mismatched:.1%} of captions taken to be another image's ({'given' if one.mismatched_given else 'estimate'})"
    title = f"{one.source}: {one.pairs:,} scored pairs, {one.shuffled:,} shuffled; {share}"
    table = Table(title=title, title_justify="left")
    for name in ("threshold", "pairs kept", "shuffled kept", "precision"):
        table.add_column(name, justify="right")
    table.add_column("")
    named = marks(one, keep, precision)
    for threshold in sorted({*_round_thresholds(one), *(mark.threshold for mark in named)}):
        labels = ", ".join(mark.name for mark in named if mark.threshold == threshold)
        kept, shuffled, precise = at(one, threshold)
        cells = [f"{threshold:.{3 if round(threshold, 2) != threshold else 2}f}", f"{kept:.1%}", f"{shuffled:.1%}"]
        cells.append("·" if math.isnan(precise) else f"{precise:.1%}")
        table.add_row(*cells, f"← {labels}" if labels else "", style="bold" if labels else "")
    return table


def at(one: Calibration, threshold: float) -> tuple[float, float, float]:
    """Shares of pairs and of shuffled pairs kept, and precision (NaN where nothing is kept), at the next step up."""
    place = min(math.ceil(round((threshold + 1) / STEP, 6)), len(one.kept) - 1)
    return float(one.kept[place]), float(one.shuffled_kept[place]), float(one.precision[place])


def _round_thresholds(one: Calibration) -> list[float]:
    """Thresholds in even steps of 0.01, 0.02, 0.05 or 0.1, where the pairs kept go from nearly all to nearly none."""
    inside = thresholds()[(one.kept < 0.999) & (one.kept > 0.005)]
    if not len(inside):
        return []
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 1.0) if (inside[-1] - inside[0]) / step <= ROWS)
    return [round(place * step, 2) for place in range(math.ceil(inside[0] / step), math.floor(inside[-1] / step) + 1)]


def _source(one: Calibration, keep: float, precision: float) -> dict[str, Any]:
    keeping, reaching = one.keeping(keep), one.reaching(precision)
    return {
        "scored_pairs": one.pairs,
        "shuffled_pairs": one.shuffled,
        "mismatched": round(one.mismatched, 5),
        "mismatched_is": "given" if one.mismatched_given else "estimated",
        "rescored_difference": one.rescored_difference,
        "min_score": one.min_score and _place(one, one.min_score),
        "keeping": {"share": keep, **_place(one, keeping)},
        "reaching": {"precision_wanted": precision, **(_place(one, reaching) if reaching is not None else {})},
        "quantiles": {f"{share:.2f}": one.keeping(1 - share) for share in np.arange(0.05, 1, 0.05).round(2).tolist()},
    }


def _place(one: Calibration, threshold: float) -> dict[str, float | None]:
    kept, shuffled, precise = (round(number, 5) for number in at(one, threshold))
    return {"threshold": threshold, "kept": kept, "shuffled_kept": shuffled,
            "precision": None if math.isnan(precise) else precise}  # fmt: skip
