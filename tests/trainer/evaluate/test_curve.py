"""The curve of a training: what is read from the log, and that a picture of it comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainer.evaluate.curve import COLOURS, CurveError, plot_curve, read_curves, short
from trainer.evaluate.retrieval import Recall, Retrieval


def line(seen: int, stage: str, name: str | None = None, recall: float = 0.0, both: bool = True) -> dict[str, Any]:
    """A line of the log, of a step or of an evaluation."""
    row: dict[str, Any] = {"step": seen // 100, "stage": stage, "pairs_seen": seen}
    if name is None:
        return {**row, "loss": 1.0}
    both_ways = Recall(recall / 2, recall, recall * 1.5, 5)
    return {**row, "evaluation": name, **Retrieval(both_ways, both_ways if both else None, 5, 5).to_json()}


def write_log(path: Path) -> Path:
    """Two stages, two sets (one of them text to image only), and a last line that a kill cut off."""
    rows = [line(100, "stage-1"), line(200, "stage-1", "a", 10), line(200, "stage-1", "b", 5, both=False)]
    rows += [line(300, "stage-1"), line(400, "stage-2", "a", 20), line(400, "stage-2", "b", 9, both=False)]
    rows += [line(500, "stage-2", "a", 30), line(500, "stage-2", "a", 31)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 6, "sta', encoding="utf-8")
    return path


def test_points_and_stages_of_a_log(tmp_path: Path) -> None:
    curves = read_curves(write_log(tmp_path / "log.jsonl"))
    assert curves.points == {
        ("a", "text_to_image"): [(200, 10), (400, 20), (500, 31)],
        ("a", "image_to_text"): [(200, 10), (400, 20), (500, 31)],
        ("b", "text_to_image"): [(200, 5), (400, 9)],
    }
    assert curves.stages == {"stage-1": 0, "stage-2": 300}
    assert read_curves(tmp_path / "log.jsonl", "r1").points[("a", "text_to_image")][0] == (200, 5)


def test_the_picture_holds_a_line_in_the_colour_of_each_set(tmp_path: Path) -> None:
    out = tmp_path / "plots" / "curve.png"
    plot_curve(write_log(tmp_path / "log.jsonl"), out)
    with Image.open(out) as image:
        assert (image.size, image.format) == ((1600, 960), "PNG")
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    for number, colour in enumerate(COLOURS[:3]):
        drawn = int((pixels == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=1).sum())
        assert drawn > 500 if number < 2 else drawn == 0


def test_a_single_evaluation_is_enough(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps(line(0, "only", "a", 0)) + "\n", encoding="utf-8")
    plot_curve(tmp_path / "log.jsonl", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 10_000


def test_logs_without_evaluations_are_named(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps(line(100, "stage-1")) + "\n", encoding="utf-8")
    with pytest.raises(
        CurveError, match=r"log\.jsonl: expected lines with evaluation, pairs_seen and text_to_image_mean"
    ):
        plot_curve(tmp_path / "log.jsonl", tmp_path / "curve.png")
    with pytest.raises(CurveError, match="there is no such file"):
        plot_curve(tmp_path / "none.jsonl", tmp_path / "curve.png")


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (950, "950"), (1_500, "1.5 k"), (2_000_000, "2 M"), (1.25e9, "1.25 G")]
)
def test_large_numbers_are_short(number: float, text: str) -> None:
    assert short(number) == text
