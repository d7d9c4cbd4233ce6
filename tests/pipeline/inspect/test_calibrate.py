"""`zhclip calibrate`: the statistics against a known mixture, and a whole run of real images, scores and files."""

from __future__ import annotations

import json
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from foundation.pairs import PAIR_SCHEMA
from pipeline.inspect.calibrate.estimate import (
    Calibration,
    at_least,
    calibrate,
    estimate_mismatched,
    histogram,
    other_captions,
    thresholds,
)
from pipeline.inspect.calibrate.report import at, marks
from pipeline.recipe import Recipe
from pipeline.run.attempt import begin_attempt
from pipeline.run.folder import Item, Run
from pipeline.run.manifest import RunError
from pipeline.run.parquet import write_parquet
from pipeline.run.tar import member
from pipeline.stages.opening import open_run, read_run, run_of
from pipeline.stages.registry import STAGES
from tests.support.checkpoints import write_image_model, write_text_model
from tests.support.paths import file_of
from zhclip.app import app

WORDS = ["白色的小猫", "红色汽车", "雪山与湖水", "窗边的雨", "蓝天下", "路旁"]
SHARDS, PAIRS = 2, 24


def mixture(mismatched: float, count: int = 40_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of pairs, which of them are mismatched, and scores of shuffled pairs; two bells that hardly overlap."""
    rng = np.random.default_rng(0)
    wrong = rng.random(count) < mismatched
    scores = np.where(wrong, rng.normal(0.1, 0.05, count), rng.normal(0.35, 0.06, count))
    return np.round(scores, 5), wrong, np.round(rng.normal(0.1, 0.05, count), 5)


def calibration(pairs: np.ndarray, shuffled: np.ndarray) -> Calibration:
    kept, other = at_least(histogram(pairs)), at_least(histogram(shuffled))
    estimate = estimate_mismatched(kept, other)
    return Calibration("made", 0.26, len(pairs), len(shuffled), kept, other, estimate, False, 0.0)


def test_a_known_mixture_is_found_again() -> None:
    pairs, wrong, shuffled = mixture(0.2)
    estimate = calibration(pairs, shuffled)
    assert estimate.mismatched == pytest.approx(0.2, abs=0.01)
    for threshold in (0.0, 0.1, 0.15, 0.2, 0.26):
        kept, other, precision = at(estimate, threshold)
        assert kept == (pairs >= threshold).mean() and other == (shuffled >= threshold).mean()
        assert precision == pytest.approx(1 - wrong[pairs >= threshold].mean(), abs=0.01)
    assert estimate.reaching(0.7) == -1  # without a threshold
    threshold = estimate.reaching(0.95)
    assert threshold is not None and 1 - wrong[pairs >= threshold].mean() == pytest.approx(0.95, abs=0.01)
    threshold = estimate.keeping(0.6)
    assert (pairs >= threshold).mean() >= 0.6 > (pairs >= threshold + 0.0011).mean()


def test_scores_that_tell_nothing_reach_no_precision() -> None:
    rng = np.random.default_rng(1)
    estimate = calibration(np.round(rng.normal(0.1, 0.05, 5000), 5), np.round(rng.normal(0.1, 0.05, 5000), 5))
    assert estimate.mismatched > 0.9 and np.isnan(estimate.precision[-1])
    assert "precision" not in [
        mark.kind for mark in marks(Calibration(**{**estimate.__dict__, "mismatched": 1.0}), 0.8, 1.1)
    ]


def test_a_score_belongs_to_the_step_that_begins_with_it() -> None:
    scores = np.array([-1.0, -0.5, -0.00001, 0.0, 0.00099, 0.25999, 0.26, 0.26099, 1.0], np.float32)
    kept = at_least(histogram(scores))
    for threshold in (-1.0, -0.5, -0.001, 0.0, 0.001, 0.26, 0.261, 1.0):
        expected = (np.round(scores.astype(float), 5) >= threshold).mean()
        assert kept[np.searchsorted(thresholds(), threshold)] == pytest.approx(expected), threshold


@pytest.mark.parametrize("seed", range(30))
def test_shuffling_gives_each_image_another_caption(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, kinds = int(rng.integers(0, 40)), int(rng.integers(1, 12))
    captions = np.array([f"第{i}张" for i in rng.integers(0, kinds, count)], dtype=object)
    others = other_captions(captions, rng)
    taken = others[others >= 0]
    assert len(set(taken.tolist())) == len(taken)
    assert all(captions[i] != captions[j] for i, j in enumerate(others) if j >= 0)
    most = int(np.unique(captions, return_counts=True)[1].max()) if count else 0
    assert len(taken) == count if 2 * most <= count else len(taken) <= count


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two shards and three sources, of which one has no pairs, scored by the score stage's own code."""
    folder = tmp_path_factory.mktemp("calibrate")
    text, image = write_text_model(folder / "text"), write_image_model(folder / "image")
    source = {"kind": "table", "files": ["none.csv"]}
    recipe = Recipe.model_validate(
        {
            "sources": {"laion": source, "wukong": {**source, "min_score": 0.1}, "empty": source},
            "score": {"text_model": str(text), "image_model": str(image), "device": "cpu", "dtype": "float32"},
        }
    )
    run, _ = open_run(folder / "run", recipe)
    for number in range(SHARDS):
        shard = f"{number:06d}"
        commit_downloaded(run, shard, np.random.default_rng(number))
        STAGES["score"].process(run, Item(shard))
    return run


def commit_downloaded(run: Run, shard: str, rng: np.random.Generator) -> None:
    """plan/ and download/ of a shard; its third image is broken."""
    keys = sorted(rng.bytes(16).hex() for _ in range(PAIRS))
    columns = {
        "source": ["laion", "wukong"] * (PAIRS // 2),
        "file": ["none.csv"] * PAIRS,
        "row": list(range(PAIRS)),
        "url": [f"http://images.example/{key}.jpg" for key in keys],
        "caption": ["".join(rng.permutation(WORDS)[:2]) for _ in keys],
    }
    pairs = pa.table(
        {f.name: pa.array(columns.get(f.name, [None] * PAIRS), f.type) for f in PAIR_SCHEMA} | {"key": keys}
    )
    images = [jpeg(rng) if number != 2 else b"broken" for number in range(PAIRS)]
    members = [member(f"{key}.jpg", data) for key, data in zip(keys, images, strict=True)]
    starts = np.cumsum([0, *map(len, members)])[:-1] + 512
    raw = pa.table(
        {
            "key": keys,
            "status": ["ok"] * PAIRS,
            "reason": pa.nulls(PAIRS, pa.string()),
            "detail": pa.nulls(PAIRS, pa.string()),
            "offset": starts,
            "length": [len(data) for data in images],
        }
    )
    with begin_attempt(run, "plan", shard) as attempt:
        write_parquet(pairs, attempt.output(".parquet"))
        attempt.commit({})
    with begin_attempt(run, "download", shard) as attempt:
        write_parquet(raw, attempt.output(".parquet"))
        attempt.output(".tar").write_bytes(b"".join(members) + bytes(1024))
        attempt.ledger([])
        attempt.commit({})


def jpeg(rng: np.random.Generator) -> bytes:
    buffer = BytesIO()
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    small.resize((64, 64), Image.Resampling.NEAREST).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def copy(scored: Run, tmp_path: Path) -> Run:
    shutil.copytree(scored.folder, tmp_path / "run")
    return read_run(tmp_path / "run")


def test_a_run_is_counted_whole_and_scored_again(scored: Run) -> None:
    calibrations = calibrate(scored)
    assert [calibration.source for calibration in calibrations] == ["laion", "wukong"]
    stored = [pq.read_table(path) for path in sorted((scored.folder / "score").glob("*.parquet"))]
    plans = [pq.read_table(path) for path in sorted((scored.folder / "plan").glob("*.parquet"))]
    for calibration in calibrations:
        scores = np.concatenate(
            [
                table["score"].filter(
                    pc.is_in(table["key"], plan["key"].filter(pc.equal(plan["source"], calibration.source)))
                )
                for table, plan in zip(stored, plans, strict=True)
            ]
        )
        assert calibration.pairs == len(scores) and calibration.rescored_difference <= 2e-5
        assert calibration.kept[1000] == pytest.approx((scores >= 0).mean())
        assert (
            PAIRS - SHARDS <= calibration.shuffled <= calibration.pairs
            and 0 <= calibration.mismatched <= 1
            and not calibration.mismatched_given
        )
    assert (
        calibrations[0].pairs == PAIRS - SHARDS and calibrations[1].pairs == PAIRS
    )  # the broken images are the first source's
    assert (calibrations[0].min_score, calibrations[1].min_score) == (0.26, 0.1)


def test_the_sample_follows_the_seed_and_nothing_else(scored: Run) -> None:
    first, again = calibrate(scored, sample=10, seed=3), calibrate(scored, sample=10, seed=3)
    alone, other = calibrate(scored, "wukong", sample=10, seed=3), calibrate(scored, "wukong", sample=10, seed=4)
    assert [calibration.shuffled for calibration in first] == [10, 10] and [
        calibration.pairs for calibration in first
    ] == [PAIRS - SHARDS, PAIRS]
    for first_sample, second_sample in ((first[0], again[0]), (first[1], again[1]), (first[1], alone[0])):
        assert np.array_equal(first_sample.shuffled_kept, second_sample.shuffled_kept)
    assert not np.array_equal(alone[0].shuffled_kept, other[0].shuffled_kept)
    given = calibrate(scored, "laion", sample=10, mismatched=0.25)[0]
    assert given.mismatched == 0.25 and given.mismatched_given and given.precision[0] == 0.75


@pytest.mark.slow
def test_the_command_writes_numbers_curves_and_a_picture(copy: Run) -> None:
    done = CliRunner().invoke(app, ["calibrate", str(copy.folder), "--keep", "0.5", "--precision", "0.5"])
    assert done.exit_code == 0, done.output
    assert "min_score of this run" in done.output and "keeps 50%" in done.output and "precision(t) = 1 -" in done.output
    folder = copy.folder / "calibration"
    image = Image.open(folder / "calibration.png")
    assert image.width == 1080 and image.height > 1000
    colours = {tuple(colour) for colour in np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()}
    assert {(0, 0x72, 0xB2), (0xD5, 0x5E, 0)} <= colours  # both distributions
    curves = pq.read_table(folder / "calibration.parquet")
    assert curves.num_rows == 2 * 2001 and set(curves["source"].to_pylist()) == {"laion", "wukong"}
    numbers = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))["sources"]["wukong"]
    row = curves.filter(pc.and_(pc.equal(curves["source"], "wukong"), pc.equal(curves["threshold"], 0.1))).to_pylist()[
        0
    ]
    assert numbers["min_score"]["kept"] == pytest.approx(row["kept"], abs=1e-5)
    assert numbers["min_score"]["threshold"] == 0.1 and numbers["keeping"]["share"] == 0.5


def test_json_and_another_folder(copy: Run, tmp_path: Path) -> None:
    options = ["--source", "laion", "--mismatched", "0.1", "--sample", "8", "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, ["calibrate", str(copy.folder), *options])
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    assert list(content["sources"]) == ["laion"] and content["sources"]["laion"]["mismatched_is"] == "given"
    assert content == json.loads((tmp_path / "out" / "calibration.json").read_text(encoding="utf-8"))
    assert not (copy.folder / "calibration").exists()


def test_what_cannot_be_calibrated_is_said(copy: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no source 'lion'; its sources are laion, wukong, empty"):
        calibrate(copy, "lion")
    with pytest.raises(RunError, match="source empty has no scored pairs"):
        calibrate(copy, "empty")
    with pytest.raises(RunError, match="no two pairs of one shard differ"):
        calibrate(copy, "laion", sample=1)
    fresh, _ = open_run(tmp_path / "fresh", copy.recipe)
    with pytest.raises(RunError, match=r"fresh has no scores .*zhclip score --run"):
        calibrate(fresh)
    other = run_of(
        copy.folder, copy.recipe.model_copy(update={"score": copy.recipe.score.model_copy(update={"mirror": True})})
    )
    with pytest.raises(RunError, match="no scores for its recipe as it is"):  # scores of another scorer do not count
        calibrate(other)
    file_of(copy, "download", "000001", ".tar").unlink()
    with pytest.raises(RunError, match=r"lacks download/000001-[0-9a-f]{12}.tar"):
        calibrate(copy)
    done = CliRunner().invoke(app, ["calibrate", str(tmp_path / "nothing")])
    assert done.exit_code == 2 and "is not a run folder" in done.output
