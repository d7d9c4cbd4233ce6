"""The scorer that ships with the demo, through the code that runs the real Multilingual-CLIP."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from demo.cards import Images
from demo.drawings import load_drawings
from demo.scoreboard import roc_auc
from demo.train_scorer import THRESHOLD, TRAINED_STYLES, is_held_out
from demo.world import WORLD_STYLES, World
from pipeline.stages.score import Score, load_scorer

pytestmark = pytest.mark.slow

MAX_BYTES = 6 * 2**20
UNUSUAL = ("transparent png", "rotated by exif")  # forms that the download stage turns into plain ones


@pytest.fixture(scope="module")
def scores(world: World, checkpoint: Path) -> dict[str, np.ndarray]:
    config = Score(text_model=str(checkpoint / "text"), image_model=str(checkpoint / "image"), dtype="float32")
    truth = pq.read_table(world.truth).to_pylist()
    rows = [row for row in truth if row["fault"] in ("clean", "swapped caption") and row["variant"] not in UNUSUAL]
    images = Images(world.web)
    table = load_scorer(config).score([images.of(row["url"]) or b"" for row in rows], [row["caption"] for row in rows])
    assert table["error"].null_count == len(rows)
    values = table["score"].to_numpy()
    faults = np.array([row["fault"] for row in rows])
    return {fault: values[faults == fault] for fault in ("clean", "swapped caption")}


def test_it_tells_true_captions_from_swapped_ones(scores: dict[str, np.ndarray]) -> None:
    assert roc_auc(scores["clean"], scores["swapped caption"]) >= 0.9


def test_the_papers_threshold_lies_between_them(scores: dict[str, np.ndarray]) -> None:
    assert np.median(scores["clean"]) > THRESHOLD > np.median(scores["swapped caption"])
    assert (scores["swapped caption"] < THRESHOLD).mean() > 0.8


def test_it_was_trained_on_other_drawings() -> None:
    assert not set(TRAINED_STYLES) & set(WORLD_STYLES)
    codes = {drawing.hexcode: drawing for drawing in load_drawings(WORLD_STYLES)}
    assert 0.05 < np.mean([is_held_out(drawing) for drawing in codes.values()]) < 0.15


def test_it_is_small_and_says_what_it_is(checkpoint: Path) -> None:
    files = [path for path in checkpoint.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MAX_BYTES
    assert "CC-BY-SA-4.0" in (checkpoint / "README.md").read_text(encoding="utf-8")
