"""What is costly to build and the same for every session: built once, kept in `.cache/tests`, shared by all processes.

An entry is named by what decides its content (SOURCES), so it is never stale; entries that were not used for two days go.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from tests.support.paths import REPOSITORY

FOLDER = REPOSITORY / ".cache" / "tests"
SOURCES = ("foundation", "filters", "pipeline", "demo", "zhclip", "requirements.lock", "tests/support/runs.py")
BESIDE = (
    "pipeline/serve",
    "pipeline/inspect/verify",
    "pipeline/inspect/report",
    "pipeline/inspect/check",
    "pipeline/inspect/sql",
)
"""Parts of SOURCES that change nothing in a run."""
KEPT = 2 * 24 * 3600  # seconds after its last use that an entry stays
CLIENT_PORTS = 32_768  # from here on the system gives ports to clients, so one could be taken at any moment


def cached(kind: str, build: Callable[[Path], None]) -> Path:
    """The folder that `build` fills. It is built by the first process that asks; the others wait.

    The folder is shared: copy out of it what a test may change.
    """
    folder = FOLDER.resolve() / f"{kind}-{_digest()}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            build(folder)
        (folder / "complete").touch()
    _remove_unused(kind)
    return folder


@contextmanager
def shared_server(folder: Path, web: Path, base_url: str) -> Iterator[None]:
    """Serves `web`, of the cached `folder`, under `base_url`; the server ends when no process is in such a block any more."""
    with (folder / "users").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)  # the system lets go of it even where this process is killed
        with FileLock(folder / "start.lock"):
            if not _locked(folder / "server"):
                _start(folder, web, int(base_url.rpartition(":")[2]))
        yield


def _start(folder: Path, web: Path, port: int) -> None:
    command = [sys.executable, "-m", "tests.support.shared_server", str(web), str(port), str(folder)]
    for _ in range(30):  # a port that was free when the world was built may be in use for a while
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        if (answer := process.stdout.readline()).startswith("http://"):
            return
        time.sleep(1)
    (folder / "complete").unlink()  # the next session builds it anew, with another port
    raise RuntimeError(f"the world in {folder} cannot be served: {answer or 'no answer'}; run the tests again")


def _locked(path: Path) -> bool:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def unused_port() -> int:
    """A port of loopback that nothing listens on, and that the system gives to no client."""
    for port in random.SystemRandom().sample(range(20_000, CLIENT_PORTS), 200):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"no port of loopback below {CLIENT_PORTS} is free")


@functools.cache
def _digest() -> str:
    """Of the code and data that a run depends on, and of where the cache lies: runs hold paths of their worlds."""
    digest = hashlib.sha256(f"{FOLDER.resolve()} {sys.version}".encode())
    left_out = [REPOSITORY / name for name in BESIDE]
    for name in SOURCES:
        root = REPOSITORY / name
        for path in [root] if root.is_file() else sorted(root.rglob("*")):
            if path.is_file() and path.suffix != ".pyc" and not any(path.is_relative_to(other) for other in left_out):
                digest.update(f"{path.relative_to(REPOSITORY)} {path.stat().st_size}\n".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _remove_unused(kind: str) -> None:
    for other in FOLDER.resolve().glob(f"{kind}-*/complete"):
        with suppress(FileNotFoundError):  # another process removes it too
            if time.time() - other.stat().st_mtime > KEPT:
                shutil.rmtree(other.parent, ignore_errors=True)
