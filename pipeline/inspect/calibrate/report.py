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


def marks(calibration: Calibration, keep: float, precision: float) -> list[Mark]:
    """The run's own threshold, the one that keeps `keep`, and the one that reaches `precision`; those that there are."""
    reached = calibration.reaching(precision)
    chosen = [Mark("keep", calibration.keeping(keep), f"keeps {keep:.0%}")]
    if calibration.min_score is not None:
        chosen.insert(0, Mark("min_score", calibration.min_score, "min_score of this run"))
    if reached is not None and reached > -1:
        chosen.append(Mark("precision", reached, f"{precision:.0%} precise"))
    return chosen


def as_json(run: Run, calibrations: Sequence[Calibration], keep: float, precision: float) -> dict[str, Any]:
    """Everything but the curves, in plain JSON types."""
    return {
        "run": run.address,
        "score": run.recipe.score.model_dump(mode="json"),
        "formula": FORMULA,
        "assumption": ASSUMPTION,
        "sources": {calibration.source: _source(calibration, keep, precision) for calibration in calibrations},
    }


def write(run: Run, calibrations: Sequence[Calibration], folder: Path, keep: float, precision: float) -> None:
    """Writes calibration.json and calibration.parquet (a row per source and threshold: the shares) to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_parquet(curves(calibrations), folder / "calibration.parquet")
    text = json.dumps(as_json(run, calibrations, keep, precision), ensure_ascii=False, indent=1)
    write_atomically(folder / "calibration.json", text + "\n")


def curves(calibrations: Sequence[Calibration]) -> pa.Table:
    """Columns source, threshold, kept, shuffled_kept, precision (float64; null where nothing is kept)."""
    return pa.concat_tables(
        pa.table(
            {
                "source": pa.repeat(pa.scalar(calibration.source), len(calibration.kept)),
                "threshold": thresholds(),
                "kept": calibration.kept,
                "shuffled_kept": calibration.shuffled_kept,
                "precision": pa.array(calibration.precision, from_pandas=True),
            }
        )
        for calibration in calibrations
    )


def print_tables(calibrations: Sequence[Calibration], keep: float, precision: float, console: Console) -> None:
    """A table of thresholds for each source, and the formula behind its last column."""
    for calibration in calibrations:
        console.print(_table(calibration, keep, precision))
        if calibration.reaching(precision) is None:
            console.print(f"no threshold is estimated to be {precision:.0%} precise")
        elif calibration.reaching(precision) == -1:
            console.print(f"estimated to be {precision:.0%} precise without any threshold")
        if calibration.rescored_difference > NOISE:
            console.print(
                f"[yellow]scored again here, pairs differ by up to {calibration.rescored_difference:.3f} from their "
                "stored scores: another machine, number type or model[/]"
            )
    console.print(f"{FORMULA}\nassuming that {ASSUMPTION}", style="dim", highlight=False)


def _table(calibration: Calibration, keep: float, precision: float) -> Table:
    given = "given" if calibration.mismatched_given else "estimate"
    share = f"{calibration.mismatched:.1%} of captions taken to be another image's ({given})"
    title = f"{calibration.source}: {calibration.pairs:,} scored pairs, {calibration.shuffled:,} shuffled; {share}"
    table = Table(title=title, title_justify="left")
    for name in ("threshold", "pairs kept", "shuffled kept", "precision"):
        table.add_column(name, justify="right")
    table.add_column("")
    named = marks(calibration, keep, precision)
    for threshold in sorted({*_round_thresholds(calibration), *(mark.threshold for mark in named)}):
        labels = ", ".join(mark.name for mark in named if mark.threshold == threshold)
        kept, shuffled, precise = at(calibration, threshold)
        cells = [f"{threshold:.{3 if round(threshold, 2) != threshold else 2}f}", f"{kept:.1%}", f"{shuffled:.1%}"]
        cells.append("·" if math.isnan(precise) else f"{precise:.1%}")
        table.add_row(*cells, f"← {labels}" if labels else "", style="bold" if labels else "")
    return table


def at(calibration: Calibration, threshold: float) -> tuple[float, float, float]:
    """Shares of pairs and of shuffled pairs kept, and precision (NaN where nothing is kept), at the next step up."""
    step = min(math.ceil(round((threshold + 1) / STEP, 6)), len(calibration.kept) - 1)
    return float(calibration.kept[step]), float(calibration.shuffled_kept[step]), float(calibration.precision[step])


def _round_thresholds(calibration: Calibration) -> list[float]:
    """Thresholds in even steps of 0.01, 0.02, 0.05 or 0.1, where the pairs kept go from nearly all to nearly none."""
    inside = thresholds()[(calibration.kept < 0.999) & (calibration.kept > 0.005)]
    if not len(inside):
        return []
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 1.0) if (inside[-1] - inside[0]) / step <= ROWS)
    return [
        round(multiple * step, 2) for multiple in range(math.ceil(inside[0] / step), math.floor(inside[-1] / step) + 1)
    ]


def _source(calibration: Calibration, keep: float, precision: float) -> dict[str, Any]:
    keeping, reaching = calibration.keeping(keep), calibration.reaching(precision)
    return {
        "scored_pairs": calibration.pairs,
        "shuffled_pairs": calibration.shuffled,
        "mismatched": round(calibration.mismatched, 5),
        "mismatched_is": "given" if calibration.mismatched_given else "estimated",
        "rescored_difference": calibration.rescored_difference,
        "min_score": calibration.min_score and _place(calibration, calibration.min_score),
        "keeping": {"share": keep, **_place(calibration, keeping)},
        "reaching": {"precision_wanted": precision, **(_place(calibration, reaching) if reaching is not None else {})},
        "quantiles": {
            f"{share:.2f}": calibration.keeping(1 - share) for share in np.arange(0.05, 1, 0.05).round(2).tolist()
        },
    }


def _place(calibration: Calibration, threshold: float) -> dict[str, float | None]:
    kept, shuffled, precise = (round(number, 5) for number in at(calibration, threshold))
    return {"threshold": threshold, "kept": kept, "shuffled_kept": shuffled,
            "precision": None if math.isnan(precise) else precise}  # fmt: skip
