"""A run on an object store: the same bytes as on disk, by the same commands, whatever is killed on the way."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from foundation.storage import Objects, Storage
from pipeline.run.folder import Run
from tests.support import warm
from tests.support.runs import Site, published
from tests.support.s3 import S3Server

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server that keeps its objects over a kill; programs that this module starts find it."""
    with S3Server.versitygw(tmp_path_factory.mktemp("s3") / "objects") as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        server.make_bucket("runs")
        yield server


@pytest.fixture(scope="module")
def stored(server: S3Server, site: Site) -> str:  # noqa: ARG001  it has to run
    """The demo's run, curated on the server without a disturbance."""
    done = site.curate("s3://runs/first")  # type: ignore[arg-type]
    assert done.returncode == 0, done.stderr
    return "s3://runs/first"


def zhclip(*words: str) -> str:
    """What a command prints, which has to succeed."""
    done = warm.run([sys.executable, "-m", "zhclip", *words])
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def objects(address: str) -> dict[str, bytes]:
    """Every file of the published folder."""
    storage = Objects(address)
    return {entry.name.rpartition("/")[2]: storage.read(entry.name) for entry in storage.list("dataset/")}


def test_it_publishes_what_a_run_on_disk_does(stored: str, finished: Run) -> None:
    on_disk = published(finished.folder)
    assert objects(stored) == on_disk and len(on_disk) > 8
    assert manifests(Objects(stored)) == manifests(finished.storage)


def manifests(storage: Storage) -> set[str]:
    """Names of the manifests of all shards, and of the published descriptions of shards."""
    return {entry.name for entry in storage.list() if re.fullmatch(r"\w+/[0-9]+\.json", entry.name)}


def test_it_is_looked_at_like_a_run_on_disk(stored: str, finished: Run) -> None:
    on_disk = json.loads(zhclip("status", str(finished.folder), "--json"))
    assert json.loads(zhclip("status", stored, "--json")) == {**on_disk, "run": stored}
    query = "select source, outcome, rows from outcomes order by all"
    assert zhclip("sql", stored, query, "--csv") == zhclip("sql", str(finished.folder), query, "--csv")
    query = "select stage, reason, count(*) from reasons group by all order by all"
    assert zhclip("sql", stored, query, "--csv") == zhclip("sql", str(finished.folder), query, "--csv")
    assert "nothing to fetch again" in zhclip("retry", stored, "--above", "0.99")


def test_a_report_is_written_to_it(stored: str) -> None:
    zhclip("report", stored)
    assert Objects(stored).read("report.html").startswith(b"<!doctype html>")


def test_it_is_continued_after_a_kill(server: S3Server, site: Site, finished: Run) -> None:
    """Of its driver, three times, and of the server, once."""
    address = "s3://runs/killed"
    for stage in ("read", "download", "score"):
        process = warm.Process(site.command(address, "--workers 2"))  # type: ignore[arg-type]
        while process.poll() is None and not committed(address, stage):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if stage == "download":
            server.kill()
            server.start()
    process = warm.Process(site.command(address, "--workers 2"))  # type: ignore[arg-type]
    while process.poll() is None and not committed(address, "publish"):
        time.sleep(0.05)
    server.kill()
    time.sleep(1)
    server.start()
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert objects(address) == published(finished.folder)


def committed(address: str, stage: str) -> bool:
    """Whether the run has a manifest of a stage."""
    return any(entry.name.endswith(".json") for entry in Objects(address).list(f"{stage}/"))


@pytest.mark.usefixtures("server")
def test_without_credentials_one_sentence_says_so() -> None:
    environment = {**os.environ, **warm.ONE_THREAD, "AWS_SECRET_ACCESS_KEY": "another"}
    done = warm.run([sys.executable, "-m", "zhclip", "status", "s3://runs/first"], env=environment)
    assert done.returncode in (1, 2) and len(done.stderr.splitlines()) == 1 and "s3://runs/first" in done.stderr, (
        done.stderr
    )
    assert "another" not in done.stderr
