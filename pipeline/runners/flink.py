"""Apache Flink for the stages: Beam's job server with an embedded Flink cluster, fetched by Maven.

    python -m pipeline.runners.flink jar                              # fetch it once into .cache/flink, print the path
    python -m pipeline.runners.flink run --parallelism 2 -- COMMAND   # serve while COMMAND -- BEAM OPTIONS runs

One server serves any number of pipelines: it is up after about 3 s, its first pipeline costs about 6 s more than its
work, the next ones about 4 s each (2 cores). Beam can also start a server of its own for every pipeline, which costs
about 10 s each time: `--runner=FlinkRunner --flink_job_server_jar=JAR`.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc  # type: ignore[import-untyped]

from foundation.errors import WorkFailed

BEAM, FLINK, SLF4J = "2.62.0", "1.19", "1.7.30"
"""Versions of the Java side. Beam's is older than the Python SDK's: the newest whose every part Maven served by name
when this was written (2.70 lacked its job service, and the all-in-one job server jar was not served at all). Beam
promises nothing about such a pair, although both speak its portable protocol; this module's tests run this one."""

FOLDER = Path(".cache/flink")
UNAVAILABLE = 3  # exit code: Java or Maven is missing or out of reach
INSTALL = "Flink needs Java 17 and Maven 3 (on Debian: apt-get install openjdk-17-jre-headless maven)"
START_SECONDS = 120  # the server listens after 3 to 6 s on 2 cores
MAVEN_SECONDS = 1200  # about 160 jars, 152 MB: 1 to 3 minutes
JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m")  # short jobs that move paths: a quick start counts
MAIN = "org.apache.beam.runners.flink.FlinkJobServerDriver"

POM = """<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>zhclip</groupId><artifactId>flink-job-server</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.beam</groupId><artifactId>beam-runners-flink-{flink}</artifactId>
      <version>{beam}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>{slf4j}</version></dependency>
  </dependencies>
</project>
"""


class FlinkUnavailableError(WorkFailed):
    """Flink cannot be had here; the message says why and what to install."""


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise FlinkUnavailableError(f"{name} is not installed. {INSTALL}")
    return path


def jar(folder: Path = FOLDER) -> Path:
    """The absolute path of the job server's jar below `folder`, which Maven fills at the first call (1 to 3 minutes).

    Raises FlinkUnavailableError where Java or Maven is missing, or Maven cannot fetch the parts.
    """
    _program("java")  # without it the jar is of no use
    home = folder.absolute() / f"{BEAM}-{FLINK}"
    server = home / "server.jar"
    if not server.exists():
        home.mkdir(parents=True, exist_ok=True)
        _fetch(home, _program("mvn"))
        _write_jar(server)
    return server


def _fetch(home: Path, maven: str) -> None:
    """Maven copies the job server and all it depends on into `home`/lib."""
    pom = home / "pom.xml"
    pom.write_text(POM.format(flink=FLINK, beam=BEAM, slf4j=SLF4J), encoding="utf-8")
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={home / 'lib'}"]
    command = [maven, "-B", "-q", "-U", "-Dstyle.color=never", "--strict-checksums", "-f", str(pom), *goal]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MAVEN_SECONDS, check=False)
    except subprocess.TimeoutExpired as late:
        raise FlinkUnavailableError(f"Maven did not answer within {MAVEN_SECONDS} s. {INSTALL}") from late
    if done.returncode:
        errors = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line] or ["no message"]
        raise FlinkUnavailableError(
            f"Maven could not fetch Flink's job server (is it out of reach?): {errors[0][:500]}\n{INSTALL}"
        )


def _write_jar(server: Path) -> None:
    """A jar of nothing but a manifest that names the parts beside it. It appears last and at once: all is there."""
    parts = sorted(path.name for path in (server.parent / "lib").glob("*.jar"))
    if not parts:
        raise FlinkUnavailableError(f"Maven left no jars in {server.parent / 'lib'}. {INSTALL}")
    manifest = {
        "Manifest-Version": "1.0",
        "Main-Class": MAIN,
        "Class-Path": " ".join(f"lib/{part}" for part in parts),
        "Add-Opens": "java.base/java.lang java.base/java.util",  # Flink's serialiser looks inside; Java 17 asks for it
    }
    partial = server.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", b"".join(_manifest_line(*pair) for pair in manifest.items()))
    partial.replace(server)


def _manifest_line(key: str, value: str) -> bytes:
    """A manifest's lines hold 72 bytes at most; a longer one goes on after a blank (the JAR file specification)."""
    raw = f"{key}: {value}".encode()
    rest = [raw[at : at + 71] for at in range(72, len(raw), 71)]
    return b"\r\n ".join([raw[:72], *rest]) + b"\r\n"


@contextmanager
def job_server(server: Path) -> Iterator[str]:
    """Serves Beam jobs on an embedded Flink cluster while the context lasts; gives its address, `localhost:PORT`.

    No Java process outlives this one, however it ends, where `setpriv` exists (any usual Linux); elsewhere a process
    that is killed leaves its server behind. Flink's temporary files end with the context.

    Raises:
        FlinkUnavailableError: the server did not start; the message holds the end of its log.
    """
    with tempfile.TemporaryDirectory(prefix="zhclip-flink-", ignore_cleanup_errors=True) as temporary:
        home, port = Path(temporary), _free_port()
        with (home / "server.log").open("wb") as log:
            # A session of its own: Ctrl-C goes to the pipeline, which then ends this context.
            process = subprocess.Popen(_command(server, home, port), stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_until_up(process, port, home / "server.log")
            yield f"localhost:{port}"
        finally:
            _stop(process)


def _command(server: Path, home: Path, port: int) -> list[str]:
    leash = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    ports = ["--job-host", "localhost", "--job-port", str(port), "--artifact-port", "0", "--expansion-port", "0"]
    where = ["--flink-master", "[local]", "--artifacts-dir", str(home / "artifacts")]
    java = [_program("java"), *JVM, quiet, f"-Djava.io.tmpdir={home}", "-jar", str(server)]
    return [*leash, *java, *ports, *where]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("localhost", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    tail = log.read_text(errors="replace")[-2000:]
    raise FlinkUnavailableError(f"Flink's job server did not start (exit code {process.poll()}). Its log ends:\n{tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def beam_options(endpoint: str, parallelism: int = 2) -> list[str]:
    """The Beam options that run a pipeline on `job_server`'s endpoint, with `parallelism` elements at a time.

    LOOPBACK: the Python code runs in the process that submits the pipeline, one thread for each element at work. So
    nothing is downloaded and no main session is pickled; heavy Python work belongs in child processes.
    """
    return [
        "--runner=FlinkRunner",
        f"--job_endpoint={endpoint}",
        "--environment_type=LOOPBACK",
        f"--parallelism={parallelism}",
    ]


def quiet_workers() -> None:
    """Silences what Beam's worker threads say when Flink hangs up on them at the end of every job, also a good one.

    For the process that runs the pipeline. A job that fails still raises there, with the DoFn's traceback.
    """
    logging.getLogger("apache_beam.runners.worker").setLevel(logging.CRITICAL)
    hook = threading.excepthook

    def without_hang_ups(problem: threading.ExceptHookArgs) -> None:
        if not isinstance(problem.exc_value, grpc.RpcError):
            hook(problem)

    threading.excepthook = without_hang_ups


def run(command: Sequence[str], folder: Path = FOLDER, parallelism: int = 2) -> int:
    """Serves while `command -- BEAM OPTIONS` runs and gives its exit code. Raises FlinkUnavailableError."""
    with job_server(jar(folder)) as endpoint:
        child = subprocess.Popen([*command, "--", *beam_options(endpoint, parallelism)])
        try:
            # A terminal's Ctrl-C reaches the child as well: it decides how to end, and this process waits for it.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, lambda *_: child.terminate())
            code = child.wait()
            return code if code >= 0 else 128 - code  # as a shell gives the code of a child that a signal ended
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Exit code 3 where Flink cannot be had here."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.runners.flink", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the jars are kept (default: %(default)s)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("jar", help="fetch the job server once and print the path of its jar")
    runs = verbs.add_parser("run", help="serve while COMMAND runs; its arguments get `-- BEAM OPTIONS` appended")
    runs.add_argument("--parallelism", type=int, default=2, help="elements at a time (default: %(default)s)")
    runs.add_argument("command", nargs="+", help="the command, after `--`")
    given = parser.parse_args(argv)
    try:
        if given.verb == "run":
            return run(given.command, given.folder, given.parallelism)
        print(jar(given.folder))
    except FlinkUnavailableError as missing:
        print(f"Flink is not available here: {missing}", file=sys.stderr)
        return UNAVAILABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
