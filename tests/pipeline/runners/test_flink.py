"""Beam's job server on the embedded Flink cluster, for real: Java, Maven, Flink."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.runners import flink
from tests.support.paths import REPOSITORY

# see quiet_workers
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]
ROOT = REPOSITORY
PATIENCE = 60  # seconds until something that hangs is called so; nothing here measures time
both = threading.Barrier(2)


@pytest.fixture(scope="module")
def jar() -> Path:
    try:
        return flink.jar(ROOT / flink.FOLDER)
    except flink.FlinkUnavailableError as missing:
        pytest.skip(f"this machine has no Flink: {missing}")


@pytest.fixture(scope="module")
def endpoint(jar: Path) -> Iterator[str]:
    with flink.job_server(jar) as served:
        yield served


def meet(path: str) -> None:
    """Returns only if another element is being worked on at the same time."""
    both.wait(PATIENCE)
    Path(path).write_text("met", encoding="utf-8")


def refuse(name: str) -> None:
    raise ValueError(f"shard {name} cannot be read")


def run(endpoint: str, elements: list[str], work: object) -> None:
    options = PipelineOptions(flink.beam_options(endpoint, parallelism=2))
    with beam.Pipeline(options=options) as pipeline:
        _ = pipeline | beam.Create(elements) | beam.Reshuffle() | beam.Map(work)


def listens(endpoint: str) -> bool:
    host, port = endpoint.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def test_two_elements_are_worked_on_at_the_same_time(endpoint: str, tmp_path: Path) -> None:
    paths = [str(tmp_path / str(n)) for n in range(4)]
    run(endpoint, paths, meet)
    assert [Path(path).read_text(encoding="utf-8") for path in paths] == ["met"] * 4


def test_what_a_stage_raises_reaches_the_caller(endpoint: str) -> None:
    with pytest.raises(RuntimeError, match="ValueError: shard 000007 cannot be read"):
        run(endpoint, ["000007"], refuse)


@pytest.mark.skipif(
    shutil.which("setpriv") is None, reason="this machine has no setpriv, which ends a server with its owner"
)
def test_no_server_outlives_a_killed_process(jar: Path) -> None:
    code = "import pathlib, sys, time; from pipeline.runners import flink\n"
    code += "with flink.job_server(pathlib.Path(sys.argv[1])) as served: print(served, flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code, str(jar)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        served = owner.stdout.readline().strip()
        assert listens(served)
        owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while listens(served) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not listens(served)


def test_the_command_gets_the_options_and_its_exit_code_counts(jar: Path) -> None:
    show = "import sys; print(*sys.argv[1:], sep='\\n'); sys.exit(7)"
    command = [
        sys.executable,
        "-m",
        "pipeline.runners.flink",
        "--folder",
        str(jar.parents[1]),
        "run",
        "--parallelism",
        "3",
    ]
    done = subprocess.run([*command, "--", sys.executable, "-c", show], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 7
    assert done.stdout.splitlines()[:2] == ["--", "--runner=FlinkRunner"]
    assert "--parallelism=3" in done.stdout.splitlines()


@pytest.mark.usefixtures("jar")
def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jar"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", f"Manifest-Version: 1.0\r\nMain-Class: {flink.MAIN}\r\n")
    with pytest.raises(flink.FlinkUnavailableError, match="FlinkJobServerDriver"), flink.job_server(empty):
        pass


def test_without_java_it_says_what_to_install(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.runners.flink", "--folder", str(tmp_path), "jar"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PATH": str(tmp_path)})
    assert done.returncode == flink.UNAVAILABLE
    assert "java is not installed" in done.stderr
    assert "apt-get install" in done.stderr


@pytest.mark.usefixtures("jar")
def test_where_maven_is_out_of_reach_it_says_so(tmp_path: Path) -> None:
    if shutil.which("mvn") is None:
        pytest.skip("this machine has no Maven, though it has the jar")
    # An empty local repository, and a closed port as the way out: the real Maven then reaches nothing.
    away = f"-Dmaven.repo.local={tmp_path / 'repository'} -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9"
    command = [sys.executable, "-m", "pipeline.runners.flink", "--folder", str(tmp_path / "flink"), "jar"]
    env = {**os.environ, "JAVA_TOOL_OPTIONS": away}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=env)
    assert done.returncode == flink.UNAVAILABLE
    assert "Maven could not fetch" in done.stderr
    assert not list(tmp_path.rglob("server.jar"))


def test_a_long_manifest_line_is_folded_as_java_reads_it() -> None:
    folded = flink._manifest_line("Class-Path", "x" * 300)
    lines = folded.split(b"\r\n")
    assert all(len(line) <= 72 for line in lines)
    assert lines[0] + b"".join(line[1:] for line in lines[1:]) == b"Class-Path: " + b"x" * 300
