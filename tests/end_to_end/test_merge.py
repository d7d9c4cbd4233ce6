"""Five data sets in their own formats, through the whole way: what was planted is caught and named, and nothing else is."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from demo.__main__ import published_pairs
from demo.merge import PORT, RECIPE, WORLD, report_of
from demo.merge_report import GROUP, MergeReport
from demo.merge_world import MergeWorld, build_merge_world
from demo.phrases import load_names
from demo.scenes import FORMS
from demo.server import serving
from demo.train_translator import is_held_out
from pipeline.counts import balances
from pipeline.runfolder import Run, read_run
from pipeline.verify import verify_run
from tests.end_to_end.conftest import REPOSITORY, published

SMALL = ("plan.shard_size=100", "publish.pairs_per_shard=50", "plan.bucket_rows=150")


@dataclass(frozen=True)
class Merge:
    """A world that is served, and the demo's recipe with this world's files and address."""

    world: MergeWorld
    recipe: Path

    def command(self, run: Path, workers: int) -> list[str]:
        sets = [part for value in SMALL for part in ("--set", value)]
        words = ["curate", str(self.recipe), "--run", str(run), "--workers", str(workers), *sets]
        return [sys.executable, "-m", "pipeline.cli", *words]


@pytest.fixture(scope="module")
def merge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Merge]:
    folder = tmp_path_factory.mktemp("merge")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    world = build_merge_world(folder / "world", f"http://127.0.0.1:{port}", size="test")
    text = (REPOSITORY / RECIPE).read_text(encoding="utf-8")
    assert str(WORLD) in text and f"127.0.0.1:{PORT}" in text
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        text.replace(str(WORLD), str(world.folder)).replace(f"127.0.0.1:{PORT}", world.allow_host), encoding="utf-8"
    )
    with serving(world.web, port):
        yield Merge(world, recipe)


@pytest.fixture(scope="module")
def run(merge: Merge, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that went through undisturbed, with two workers."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    done = subprocess.run(merge.command(folder, 2), cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return read_run(folder)


@pytest.fixture(scope="module")
def report(merge: Merge, run: Run) -> MergeReport:
    return report_of(run, merge.world)


@pytest.fixture(scope="module")
def truth(merge: Merge) -> pl.DataFrame:
    return pl.read_parquet(merge.world.truth)


def test_every_copy_of_a_test_image_is_caught_and_named(report: MergeReport, truth: pl.DataFrame) -> None:
    for form in FORMS:
        tally = report.tally("test image", form)
        assert tally.planted == tally.caught == tally.named > 0, tally
    planted = truth.filter(kind="test image").unique(["source", "image"])
    sources = {name[0]: tuple(sorted(rows["source"])) for name, rows in planted.group_by("match")}
    assert report.found == sources


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


def test_both_languages_are_published_and_files_win_over_the_model(report: MergeReport, run: Run) -> None:
    by = {who: [one for one in report.translations if one.by == who] for who in ("file", "model")}
    assert by["file"] and all(one.chinese == one.meant for one in by["file"])
    unseen = [name.english for name in load_names().values() if is_held_out(name)]
    shown = [one for one in by["model"] if not any(name in one.english for name in unseen)]
    assert len(shown) > 10
    assert sum(one.chinese == one.meant for one in shown) / len(shown) > 0.8
    pairs = pl.DataFrame(published_pairs(run))
    assert pairs.filter(pl.col("source").is_in(["coco", "vg"]))["english"].null_count() == 0
    assert pairs.filter(pl.col("source").is_in(["laion", "wukong", "coco_cn"]))["english"].is_null().all()


def test_every_row_of_every_source_is_accounted_for(run: Run, truth: pl.DataFrame) -> None:
    rows = dict(truth["source"].value_counts().iter_rows())
    found = {one.source: one for one in balances(run)}
    assert {name: balance.read for name, balance in found.items()} == rows
    assert [one.missing for one in found.values()] == [0] * 5
    assert all(one.published > 0 for one in found.values())
    assert verify_run(run, Console(quiet=True)).problems == []


def test_killed_and_continued_with_one_worker_it_publishes_the_same_bytes(
    merge: Merge, run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    for stage in ("translate", "scores"):  # killed as soon as something of this stage is there
        process = subprocess.Popen(
            merge.command(folder, 1), cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and not list(folder.glob(f"{stage}/*")):
            time.sleep(0.02)
        assert process.poll() is None, f"it was over before {stage}/ began"
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(merge.command(folder, 1), cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert published(folder) == published(run.folder)
