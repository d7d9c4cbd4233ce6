"""After an outage: what could not be fetched is fetched again, what was fetched stays, and the same pairs are published."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from demo.server import serving
from demo.world import build_world
from pipeline.inspect.verify import verify_run
from pipeline.run.folder import Run
from pipeline.run.manifest import RunError
from pipeline.runners.driver import run_stages
from pipeline.runners.retry import find, wanted
from pipeline.stages.opening import read_run
from tests.support import warm
from tests.support.cache import unused_port
from tests.support.paths import file_of
from tests.support.runs import Site, published

pytestmark = pytest.mark.e2e

LOST = {"000000", "000002"}  # shards that the outage hits


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Of this module alone, since it stops the server."""
    port = unused_port()
    world = build_world(tmp_path_factory.mktemp("world") / "world", f"http://127.0.0.1:{port}", size="test")
    with serving(world.web, port):
        yield Site(world)


@pytest.fixture(scope="module")
def finished(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of it that went through undisturbed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    done = site.curate(folder)
    assert done.returncode == 0, done.stderr
    return read_run(folder)


@contextmanager
def outage(site: Site) -> Iterator[None]:
    """The server takes connections and says nothing."""
    port = int(site.world.allow_host.rpartition(":")[2])
    listening = [
        connection
        for connection in psutil.net_connections("tcp")
        if connection.laddr.port == port and connection.status == "LISTEN"
    ]
    pid = listening[0].pid
    assert pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def unlucky(site: Site, finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A complete run of which two shards were downloaded while the server was away."""
    folder = tmp_path_factory.mktemp("unlucky") / "run"
    shutil.copytree(finished.folder, folder)
    run = read_run(folder)
    for step in ("publish", "select", "dedup_images"):
        run.discard(step)
    for step in ("score", "download"):
        assert run.discard(step, shards=LOST) == len(LOST)
    with outage(site):
        run_stages(run, ["download"], 2, [], lambda *_: None)
    assert site.curate(folder).returncode == 0
    return run


def zhclip(*words: str) -> subprocess.CompletedProcess[str]:
    return warm.run([sys.executable, "-m", "zhclip", *words])


def images(run: Run) -> dict[str, bytes]:
    """Key → bytes of every raw image, as the tables say where they lie; the tars hold them and nothing else."""
    all_images: dict[str, bytes] = {}
    for manifest in run.manifests("download"):
        path = file_of(run, "download", manifest.shard, ".tar")
        content, shard = path.read_bytes(), dict[str, bytes]()
        for row in run.table("download", manifest.shard).to_pylist():
            if row["status"] == "ok":
                shard[row["key"]] = content[row["offset"] : row["offset"] + row["length"]]
        with tarfile.open(path) as tar:
            assert sorted(tar.getnames()) == sorted(f"{key}.jpg" for key in shard)
        all_images |= shard
    return all_images


def failures(run: Run) -> dict[str, str]:
    tables = [pq.read_table(file_of(run, "download", manifest.shard)) for manifest in run.manifests("download")]
    return {row["key"]: row["reason"] for table in tables for row in table.to_pylist() if row["reason"]}


def test_what_the_outage_took_comes_back(unlucky: Run, finished: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(unlucky.folder, folder)
    assert published(folder) != published(finished.folder)
    done = zhclip("retry", str(folder), "--above", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    run = read_run(folder)
    assert published(folder) == published(finished.folder)
    assert images(run) == images(finished) and failures(run) == failures(finished)
    assert {row["stage"]: row["done"] for row in json.loads(done.stdout)["stages"]}["download"] == len(
        finished.done("download")
    )
    assert verify_run(run, Console(quiet=True)).problems == []
    assert not list((folder / "download" / ".kept").iterdir())
    shown = zhclip("retry", str(folder), "--above", "0.5")
    assert shown.returncode == 0 and "nothing to fetch again" in shown.stdout


def test_killed_on_the_way_it_continues_and_asks_for_the_failed_ones_alone(
    unlucky: Run, site: Site, finished: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(unlucky.folder, folder)
    shards = find(unlucky, [], 0).shards
    assert set(shards) > LOST  # others have a server that hangs, and images that stay
    process = warm.Process([sys.executable, "-m", "zhclip", "retry", str(folder), "--workers", "1"])
    raw, kept = folder / "download", folder / "download" / ".kept"
    while process.poll() is None and not _between(raw, shards):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = [shard for shard in shards if not (raw / f"{shard}.json").exists()]
    assert left and all((kept / f"{shard}.json").exists() for shard in left)
    assert site.curate(folder).returncode == 0
    assert published(folder) == published(finished.folder)
    assert images(read_run(folder)) == images(finished)
    for name in set(shards) - LOST:  # what had come stands where it stood, in front
        old = pq.read_table(file_of(unlucky, "download", name)).to_pylist()
        new = {row["key"]: row for row in read_run(folder).table("download", name).to_pylist()}
        kept = [row for row in old if row["status"] == "ok"]
        assert [new[row["key"]] for row in kept] == kept
        end = max((row["offset"] + row["length"] for row in kept), default=0)  # behind it only padding, of any length
        tars = [file_of(run, "download", name, ".tar") for run in (read_run(folder), unlucky)]
        assert tars[0].read_bytes()[:end] == tars[1].read_bytes()[:end]


def _between(raw: Path, shards: list[str]) -> bool:
    """Whether the first of them is done again, and the last one is not."""
    there = [(raw / f"{shard}.json").exists() for shard in shards]
    return (raw / ".kept").exists() and there[0] and not there[-1]


def test_what_would_be_fetched_again(unlucky: Run) -> None:
    dry = json.loads(zhclip("retry", str(unlucky.folder), "--dry-run", "--above", "0.5", "--json").stdout)
    assert set(dry["shards"]) == LOST and next(iter(dry["reasons"])) == "timeout"
    failed = failures(unlucky).values()
    assert find(unlucky, ["http_404"], 0).reasons == {"http_404": list(failed).count("http_404")}
    assert find(unlucky, [], 0).pairs == sum(map(wanted([]), failed))
    assert find(unlucky, [], 1).shards == []
    wrong = zhclip("retry", str(unlucky.folder), "--reason", "nonsense")
    assert wrong.returncode == 2 and "nonsense" in wrong.stderr and "connection_lost" in wrong.stderr


@pytest.mark.parametrize("reason", ["timeout", "dns_failed", "connection_lost", "http_503", "http_429", "http_408"])
def test_what_may_pass(reason: str) -> None:
    assert wanted([])(reason)


@pytest.mark.parametrize("reason", ["http_404", "http_403", "http_50", "not_an_image", "opted_out", "too_small"])
def test_what_does_not(reason: str) -> None:
    assert not wanted([])(reason) and wanted([reason if reason != "http_50" else "http_500"])
    with pytest.raises(RunError, match="no reason"):
        wanted(["http_50"])
