"""Programs of this repository as processes of their own that do not import torch, Beam and the like anew, which takes most
of the time of a small run: `run([sys.executable, "-m", "zhclip", ...])` for `subprocess.run`, `Process` for `Popen`.

Where the start of a program is what a test is about, it takes `subprocess`.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.support.paths import REPOSITORY

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Threads that a library starts do not live on in a fork; and models this small lose time to them."""


class Process:
    """A running `python -m MODULE WORDS`; what it prints is kept in files until `communicate`."""

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path = REPOSITORY,
        env: Mapping[str, str] | None = None,
        given: str = "",
        group: bool = False,  # whether it leads a process group of its own
    ) -> None:
        python, option, module, *words = command
        assert (python, option) == (sys.executable, "-m"), command
        self.args = command
        self.returncode: int | None = None
        self._streams = [tempfile.TemporaryFile("w+", encoding="utf-8") for _ in range(3)]  # noqa: SIM115
        self._streams[0].write(given)
        self._streams[0].seek(0)
        env = {**os.environ, **ONE_THREAD} if env is None else dict(env)
        request = {"cwd": str(cwd), "env": env, "module": module, "words": words, "group": group}
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(_server())
        socket.send_fds(connection, [b" "], [stream.fileno() for stream in self._streams])
        self._answers = connection.makefile("rw", encoding="utf-8")
        connection.close()  # the file keeps it open
        print(json.dumps(request), file=self._answers, flush=True)
        self.pid = int(self._answers.readline())
        self._waiting = threading.Thread(target=self._wait, daemon=True)
        self._waiting.start()

    def _wait(self) -> None:
        with self._answers:
            self.returncode = int(self._answers.readline())

    def wait(self, timeout: float | None = None) -> int:
        """The exit code; raises subprocess.TimeoutExpired as Popen's does."""
        self._waiting.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(list(self.args), timeout or 0)
        return self.returncode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Waits, and returns what it printed and what it said on standard error."""
        self.wait(timeout)
        _, stdout, stderr = (self._read(stream) for stream in self._streams)
        return stdout, stderr

    @staticmethod
    def _read(stream: tempfile._TemporaryFileWrapper[str]) -> str:  # type: ignore[name-defined]
        with stream:
            stream.seek(0)
            return stream.read()


def run(
    command: Sequence[str], cwd: Path = REPOSITORY, env: Mapping[str, str] | None = None, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run with captured text; `given` is read from standard input."""
    process = Process(command, cwd, env, given)
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(command, process.wait(), stdout, stderr)


@functools.cache
def _server() -> str:
    """The address of this process's server, which ends with it."""
    folder = tempfile.TemporaryDirectory(prefix="warm-")
    address = f"{folder.name}/socket"
    command = [sys.executable, "-P", str(Path(__file__).with_name("warm_server.py")), address]
    server = subprocess.Popen(
        command, env={**os.environ, **ONE_THREAD}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin and server.stdout

    def end() -> None:
        server.stdin.close()
        server.wait()
        folder.cleanup()

    atexit.register(end)
    assert server.stdout.readline() == "ready\n", "the server of warm processes did not start"
    return address
