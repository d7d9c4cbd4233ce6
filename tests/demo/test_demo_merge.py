"""The merge world, its translator, and the report, each by itself; tests/end_to_end/test_merge.py runs the whole."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image, ImageOps

from demo.drawings import load_drawings
from demo.merge_plan import BY_ID, CLEAN, TEST_IMAGES
from demo.merge_report import merge_report
from demo.merge_world import TRUTH_SCHEMA, MergeWorld, build_merge_world
from demo.phrases import load_names
from demo.scenes import FORMS, copy_of, render_scene, scene_file, scene_of
from demo.train_translator import is_held_out
from pipeline.recipe.images import EvalImageSet
from pipeline.sources.translation import Translation
from pipeline.stages.eval_images.sets import read_images
from pipeline.stages.translate import load_translator
from tests.support.paths import REPOSITORY

MARIAN = REPOSITORY / "demo" / "marian-tiny"


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> MergeWorld:
    return build_merge_world(tmp_path_factory.mktemp("merge"), size="test")


@pytest.fixture(scope="module")
def truth(merged: MergeWorld) -> pl.DataFrame:
    return pl.read_parquet(merged.truth)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_truth_counts_what_was_asked_for(truth: pl.DataFrame) -> None:
    images = truth.unique(["source", "image"])
    clean = dict(images.filter(kind="clean")["source"].value_counts().iter_rows())
    assert clean == CLEAN["test"]
    listed = images.filter(kind="test id").group_by("source", "match").len()
    assert {(row[0], row[1]): row[2] for row in listed.iter_rows()} == BY_ID["test"]
    planted = images.filter(kind="test image")
    assert Counter(planted["form"]) == dict.fromkeys(FORMS, 4)
    for file in truth["file"].unique():
        own = truth.filter(file=file)
        assert sorted(own["row"]) == list(range(len(own)))


def test_coco_and_its_translations_belong_together(merged: MergeWorld, truth: pl.DataFrame) -> None:
    folder = merged.metadata / "coco"
    known = read_json(folder / "zh.json")
    members = set(zipfile.ZipFile(folder / "images.zip").namelist())
    for part in ("train2014", "val2014"):
        content = read_json(folder / f"captions_{part}.json")
        rows = truth.filter(file=f"captions_{part}.json").sort("row").to_dicts()
        assert [annotation["caption"] for annotation in content["annotations"]] == [row["english"] for row in rows]
        for annotation, row in zip(content["annotations"], rows, strict=True):
            assert known.get(str(annotation["id"])) == (row["chinese"] if row["by"] == "file" else None)
        assert {f"{part}/{image['file_name']}" for image in content["images"]} <= members
    assert {"file", "model"} == set(truth.filter(source="coco")["by"])


def test_boxes_of_regions_lie_on_their_drawings_in_copies_too(merged: MergeWorld, truth: pl.DataFrame) -> None:
    folder = merged.metadata / "vg"
    described = {record["image_id"]: record for record in read_json(folder / "image_data.json")}
    routes = read_json(merged.web / "routes.json")
    for record in read_json(folder / "region_descriptions.json"):
        told = described[record["id"]]
        with Image.open(merged.web / routes[told["url"].removeprefix(merged.base_url)]["file"]) as image:
            assert image.size == (told["width"], told["height"])
            pixels = np.asarray(image.convert("RGB")).astype(int)
        outside = np.ones(pixels.shape[:2], dtype=bool)
        for region in record["regions"]:
            x, y, width, height = (region[name] for name in ("x", "y", "width", "height"))
            assert min(x, y) >= 0 and x + width <= told["width"] and y + height <= told["height"]
            outside[max(0, y - 3) : y + height + 3, max(0, x - 3) : x + width + 3] = False
        rows = np.flatnonzero(outside.sum(1) > 1)  # what lies outside is ground: of one colour along a row
        spread = [np.ptp(pixels[row][outside[row]], axis=0).max() for row in rows]
        assert max(spread, default=0) < 40, record["id"]
    assert set(FORMS) < set(truth.filter(source="vg")["form"])


def test_the_evaluation_set_is_read_by_the_code_that_reads_real_ones(merged: MergeWorld, truth: pl.DataFrame) -> None:
    images = dict(read_images(EvalImageSet(path=str(merged.evaluation))))
    assert len(images) == TEST_IMAGES["test"]
    assert set(truth.filter(kind="test image")["match"]) < set(images)
    row = truth.filter(kind="test image", form="same file", source="laion").to_dicts()[0]
    file = read_json(merged.web / "routes.json")[row["image"].removeprefix(merged.base_url)]["file"]
    assert (merged.web / file).read_bytes() == images[row["match"]]


def test_copies_are_what_they_are_called() -> None:
    scene = scene_of("1", load_drawings(("noto",))[:1], (320, 240), random.Random(3))
    data, rng = scene_file(scene), random.Random(0)
    pixels = {form: Image.open(io.BytesIO(copy_of(data, form, rng))).convert("RGB") for form in FORMS}
    original = render_scene(scene)
    assert copy_of(data, "same file", rng) == data
    assert pixels["resized"].size != original.size == pixels["mirrored"].size
    assert 0.92 * 320 <= pixels["cropped"].width < 320
    difference = np.asarray(ImageOps.mirror(pixels["mirrored"])).astype(int) - np.asarray(original)
    assert np.abs(difference).mean() < 3
    with pytest.raises(ValueError, match="unknown form 'turned'"):
        copy_of(data, "turned", rng)


def test_the_translator_that_ships_is_small_and_as_good_as_its_figures_say() -> None:
    assert sum(path.stat().st_size for path in MARIAN.iterdir()) < 6 * 2**20
    figures = read_json(MARIAN / "figures.json")
    names = list(load_names().values())
    shown = [name for name in names if not is_held_out(name)][::12]
    held = [name for name in names if is_held_out(name)]
    translator = load_translator(Translation(model=str(MARIAN), dtype="float32", beams=1, device="cpu"))
    exact = {
        which: np.mean(
            [
                text == name.chinese
                for text, name in zip(translator.translate([name.english for name in group]), group, strict=True)
            ]
        )
        for which, group in (("shown", shown), ("held_out", held))
    }
    assert exact["shown"] == pytest.approx(figures["exact_shown"], abs=0.04)
    assert exact["held_out"] == pytest.approx(figures["exact_held_out"], abs=0.04)


def row(number: int, source: str, kind: str, form: str = "original", match: str = "") -> dict[str, Any]:
    texts = {"english": "", "chinese": f"图{number}", "by": "source"}
    origin = {"source": source, "file": source, "row": number, "image": f"i{number}"}
    return {**origin, "kind": kind, "form": form, "match": match, **texts}


def fate(number: int, source: str, reasons: list[str], detail: str | None = None) -> dict[str, Any]:
    origin = {"source": source, "file": f"x/{source}", "row": number, "key": f"k{number}", "caption": f"图{number}"}
    return {**origin, "reasons": reasons, "detail": detail}


def test_the_report_tells_missed_and_mistaken_from_caught() -> None:
    truth = [
        row(0, "laion", "test image", "resized", "7"),
        row(1, "laion", "test image", "resized", "8"),  # taken for another test image
        row(2, "laion", "test image", "resized", "9"),  # missed
        row(3, "coco", "duplicate", "original", "a"),
        row(4, "laion", "duplicate", "mirrored", "a"),
        row(5, "coco", "duplicate", "original", "b"),  # missed: both stay
        row(6, "laion", "duplicate", "mirrored", "b"),
        row(7, "coco", "clean"),  # taken for a copy of picture a
        row(8, "coco", "clean"),
        row(9, "coco", "test id", match="karpathy"),  # caught by another list
    ]
    ledger = [
        fate(0, "laion", ["score_too_low", "test_image_set"], "set image 7, distance 3"),
        fate(1, "laion", ["test_image_set"], "set image 7, distance 16"),
        fate(2, "laion", ["score_too_low"]),
        fate(4, "laion", ["near_duplicate_image"], "k3"),
        fate(7, "coco", ["near_duplicate_image"], "k3"),
        fate(9, "coco", ["test_set_coco_cn"]),
    ]
    published = [fate(number, source, []) for number, source in ((3, "coco"), (5, "coco"), (6, "laion"), (8, "coco"))]
    clusters = [{"cluster": "k3", "key": key} for key in ("k3", "k4", "k7")]
    report = merge_report(
        pa.Table.from_pylist(truth, TRUTH_SCHEMA),
        *(pa.Table.from_pylist(rows) for rows in (ledger, published, clusters)),
    )
    counts = {(count.kind, count.form): (count.planted, count.caught, count.named) for count in report.planted}
    assert counts == {
        ("test image", "resized"): (3, 2, 1),
        ("test id", "karpathy"): (1, 1, 0),
        ("duplicate", "mirrored"): (2, 1, 1),
    }
    assert report.mistaken == ("laion 图1 → test image 7", "coco 图7 → coco 图3")
    assert (report.clean.pairs, report.clean.published) == (2, 1)
    assert report.test_image_sources == {"7": ("laion", "laion")}
    assert report.clusters == {3: 1}
