"""The whole way, with real files, real HTTP, the real model code and real shards."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from demo.__main__ import published_pairs
from demo.faults import ALL_KINDS
from demo.scoreboard import scoreboard
from pipeline.inspect.funnel import query_ledger, source_funnels
from pipeline.inspect.verify import verify_run
from pipeline.run.folder import Run
from pipeline.stages.opening import read_run
from tests.support import warm
from tests.support.runs import Site, published

pytestmark = pytest.mark.e2e

METADATA_STAGES = ("read", "plan")


def test_every_metadata_fault_is_caught_for_its_reason_and_no_clean_pair_is_lost_to_a_rule(
    site: Site, finished: Run
) -> None:
    truth = pq.read_table(site.world.truth)
    index = published_pairs(finished)
    board = scoreboard(truth, query_ledger(finished, "select * from ledger"), index)
    stages = {kind.name: kind.stage for kind in ALL_KINDS}
    for tally in board.faults:
        assert tally.lost == 0, tally
        if stages[tally.kind] in METADATA_STAGES:
            assert (tally.caught, tally.as_expected, tally.published) == (tally.planted, tally.planted, 0), tally
        if stages[tally.kind] == "download":
            assert (tally.caught, tally.as_expected) == (tally.planted, tally.planted), tally
    assert sum(board.clean_dropped.get(stage, 0) for stage in (*METADATA_STAGES, "download", "score")) == 0
    assert board.auc >= 0.9


def test_conservation_is_exact(finished: Run) -> None:
    for funnel in source_funnels(finished):
        assert funnel.read > 0
        assert funnel.outcomes["published"] > 0
        assert funnel.waiting == 0, funnel


def test_one_worker_publishes_the_same_bytes_as_two(site: Site, finished: Run, tmp_path: Path) -> None:
    done = site.curate(tmp_path / "run", "--workers 1", "--json")
    assert done.returncode == 0, done.stderr
    assert published(tmp_path / "run") == published(finished.folder)
    summary = json.loads(done.stdout)
    assert all(stage["done"] == stage["expected"] for stage in summary["stages"])
    assert [source["waiting"] for source in summary["sources"]] == [0, 0]


def test_killed_at_random_moments_and_continued_it_publishes_the_same_bytes(
    site: Site, finished: Run, tmp_path: Path
) -> None:
    chance = random.Random(4)
    kills = 0
    for _ in range(6):
        process = warm.Process(site.command(tmp_path / "run"))
        try:
            process.wait(chance.uniform(2.0, 9.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills > 0
    assert site.curate(tmp_path / "run").returncode == 0
    assert published(tmp_path / "run") == published(finished.folder)
    assert verify_run(read_run(tmp_path / "run"), Console(quiet=True)).problems == []


def test_ctrl_c_stops_at_once_and_leaves_a_run_that_continues(site: Site, finished: Run, tmp_path: Path) -> None:
    process = warm.Process(site.command(tmp_path / "run"))
    while not (tmp_path / "run" / "download").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "The same command continues" in errors
    assert "Traceback" not in errors
    assert site.curate(tmp_path / "run").returncode == 0
    assert published(tmp_path / "run") == published(finished.folder)


def test_a_new_threshold_downloads_and_scores_nothing_again(site: Site, finished: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    before = {
        path: path.stat().st_mtime_ns for name in ("plan", "download", "score") for path in (folder / name).iterdir()
    }
    done = site.curate(folder, "--set sources.laion.min_score=0.6")
    assert done.returncode == 0, done.stderr
    assert "sources.laion.min_score: 0.26 → 0.6" in done.stderr
    after = {
        path: path.stat().st_mtime_ns for name in ("plan", "download", "score") for path in (folder / name).iterdir()
    }
    assert after == before
    assert published_rows(read_run(folder)) < published_rows(finished)
    assert min(row["score"] for row in published_pairs(read_run(folder)).to_pylist() if row["source"] == "laion") >= 0.6


def test_stages_run_one_by_one_and_say_what_they_need(site: Site, finished: Run, tmp_path: Path) -> None:
    early = site.curate(tmp_path / "run", verb="download")
    assert early.returncode == 2
    assert "run `zhclip plan`" in early.stderr
    for stage in ("plan", "download", "score", "select", "publish"):
        done = site.curate(tmp_path / "run", verb=stage)
        assert done.returncode == 0, done.stderr
    assert published(tmp_path / "run") == published(finished.folder)


@pytest.mark.parametrize(
    "override, message",
    [
        ("sources.laion.files=['nowhere/*.parquet']", "nowhere/*.parquet matches no file"),
        ("limits.unreadable_share=0", "limits.unreadable_share is 0"),
        ("limits.download_failed_share=0", "limits.download_failed_share (0) allows"),
        ("score.text_model=demo/nothing-here", "demo/nothing-here"),
    ],
)
def test_what_cannot_work_ends_with_a_sentence_and_an_exit_code(
    site: Site, finished: Run, tmp_path: Path, override: str, message: str
) -> None:
    if override.startswith("score."):  # what comes before is done, and stays
        shutil.copytree(finished.folder, tmp_path / "run")
    done = site.curate(tmp_path / "run", f"--set {override}")
    assert done.returncode in (1, 2)
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def published_rows(run: Run) -> int:
    return sum(funnel.outcomes["published"] for funnel in source_funnels(run))
