"""Five data sets in their own formats, through the whole way: what was planted is caught and named, and nothing else is."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from demo.__main__ import published_pairs
from demo.merge import report_of
from demo.merge_report import GROUP, MergeReport
from demo.phrases import load_names
from demo.scenes import FORMS
from demo.train_translator import is_held_out
from pipeline.inspect.funnel import source_funnels
from pipeline.inspect.verify import verify_run
from pipeline.run.folder import Run
from tests.support import warm
from tests.support.runs import Merge, published


@pytest.fixture(scope="module")
def report(merge: Merge, merged: Run) -> MergeReport:
    return report_of(merged, merge.world)


@pytest.fixture(scope="module")
def truth(merge: Merge) -> pl.DataFrame:
    return pl.read_parquet(merge.world.truth)


def test_every_copy_of_a_test_image_is_caught_and_named(report: MergeReport, truth: pl.DataFrame) -> None:
    for form in FORMS:
        tally = report.tally("test image", form)
        assert tally.planted == tally.caught == tally.named > 0, tally
    planted = truth.filter(kind="test image").unique(["source", "image"])
    sources = {name[0]: tuple(sorted(rows["source"])) for name, rows in planted.group_by("match")}
    assert report.test_image_sources == sources


def test_images_on_lists_of_test_images_are_caught_by_the_list_that_names_them(report: MergeReport) -> None:
    for listed in ("karpathy", "coco_cn", "flickr30k"):
        tally = report.tally("test id", listed)
        assert tally.planted == tally.caught == tally.named > 0, tally


def test_of_each_picture_one_image_stays(report: MergeReport) -> None:
    for form in ("same file", "resized", "recompressed", "mirrored", GROUP):
        tally = report.tally("duplicate", form)
        assert tally.planted == tally.caught == tally.named > 0, tally
    assert report.clusters[4] == report.tally("duplicate", GROUP).planted / 3


def test_no_picture_is_taken_for_another(report: MergeReport) -> None:
    assert report.mistaken == ()
    assert report.clean.published + report.clean.low_score + report.clean.by_rules == report.clean.pairs
    assert report.clean.by_rules == 0


def test_both_languages_are_published_and_files_win_over_the_model(report: MergeReport, merged: Run) -> None:
    by_translator = {
        who: [translation for translation in report.translations if translation.by == who] for who in ("file", "model")
    }
    assert by_translator["file"] and all(
        translation.chinese == translation.meant for translation in by_translator["file"]
    )
    unseen = [name.english for name in load_names().values() if is_held_out(name)]
    shown = [
        translation for translation in by_translator["model"] if not any(name in translation.english for name in unseen)
    ]
    assert len(shown) > 10
    assert sum(translation.chinese == translation.meant for translation in shown) / len(shown) > 0.8
    pairs = pl.DataFrame(published_pairs(merged))
    assert pairs.filter(pl.col("source").is_in(["coco", "vg"]))["english"].null_count() == 0
    assert pairs.filter(pl.col("source").is_in(["laion", "wukong", "coco_cn"]))["english"].is_null().all()


def test_every_row_of_every_source_is_accounted_for(merged: Run, truth: pl.DataFrame) -> None:
    rows = dict(truth["source"].value_counts().iter_rows())
    funnels = source_funnels(merged)
    assert {funnel.source: funnel.read for funnel in funnels} == rows
    assert [funnel.waiting for funnel in funnels] == [0] * 5
    assert all(funnel.outcomes["published"] > 0 for funnel in funnels)
    assert verify_run(merged, Console(quiet=True)).problems == []


def test_killed_and_continued_with_one_worker_it_publishes_the_same_bytes(
    merge: Merge, merged: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    for stage in ("translate", "score"):  # killed as soon as something of this stage is there
        process = warm.Process(merge.command(folder, 1))
        while process.poll() is None and not list(folder.glob(f"{stage}/*")):
            time.sleep(0.02)
        assert process.poll() is None, f"it was over before {stage}/ began"
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = warm.run(merge.command(folder, 1))
    assert done.returncode == 0, done.stderr
    assert published(folder) == published(merged.folder)
