"""A pool of processes that answer SQL, each about one run; the service survives the death of any of them."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from foundation.child import python_path
from foundation.errors import WorkFailed
from pipeline.serve.sql_child import Question, Setup, question_line

CHILDREN = 2  # at a time, whatever the number of runs
GRACE = 2.0  # s beyond a question's own limit; then the process is killed
START_SECONDS = 60.0
WAIT_SECONDS = 10.0  # for another question to end
MAX_BYTES = 256 << 20  # of an answer on its way here
READ_AT_ONCE = 1 << 20


class ChildDied(WorkFailed):
    """The process ended, or was killed, before it answered."""


@dataclass
class Child:
    """One process, from its start to its end."""

    setup: Setup
    process: subprocess.Popen[bytes] = field(init=False)
    rest: bytes = b""  # read, but of a later line

    def __post_init__(self) -> None:
        environment = {"PATH": os.defpath, "PYTHONPATH": python_path(), "LC_ALL": "C.UTF-8"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.serve.sql_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the service, which ends its children itself
        )
        self._write(json.dumps(asdict(self.setup)) + "\n")
        self._read(START_SECONDS)

    def ask(self, question: Question) -> dict[str, Any]:
        """The answer as `sql_child.answer` gives it.

        Raises:
            ChildDied: the process ended without an answer.
        """
        self._write(question_line(question))
        answer = self._read(question.seconds + GRACE)
        if answer.get("kind") == "memory":
            self.close()
        return answer

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()

    def _write(self, line: str) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            self.close()
            raise ChildDied("it ended by itself") from None

    def _read(self, seconds: float) -> dict[str, Any]:
        """The next message; the process is killed if that takes too long or is too large."""
        assert self.process.stdout is not None
        deadline, handle, parts = time.monotonic() + seconds, self.process.stdout.fileno(), [self.rest]
        size = len(self.rest)
        while b"\n" not in parts[-1]:
            left = deadline - time.monotonic()
            ready = select.select([handle], [], [], max(0.0, left))[0]
            piece = os.read(handle, READ_AT_ONCE) if ready else b""
            size += len(piece)
            if not piece or size > MAX_BYTES:
                self.close()
                raise ChildDied("it took too long" if not ready else "it ended by itself")
            parts.append(piece)
        line, _, self.rest = b"".join(parts).partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message


@dataclass
class Pool:
    """Hands out children: an idle one with the same setup, else a new one, which replaces the oldest idle one."""

    idle: list[Child] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    free: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(CHILDREN))

    def ask(self, setup: Setup, question: Question) -> dict[str, Any]:
        """The answer to a question; an error of kind `died` or `busy` where there is none."""
        try:
            with self._child(setup) as child:
                return child.ask(question)
        except ChildDied as error:
            seconds = f"{question.seconds:g} seconds"
            return {
                "kind": "died",
                "error": f"The query was stopped: it used more than {seconds} or more memory than there is ({error}).",
            }
        except TimeoutError:
            return {"kind": "busy", "error": f"{CHILDREN} other queries are running; try again in a moment."}

    def close(self) -> None:
        """End all idle processes."""
        with self.lock:
            while self.idle:
                self.idle.pop().close()

    @contextmanager
    def _child(self, setup: Setup) -> Iterator[Child]:
        if not self.free.acquire(timeout=WAIT_SECONDS):
            raise TimeoutError
        try:
            child = self._take(setup)
            yield child
            if child.alive:
                with self.lock:
                    self.idle.append(child)
        finally:
            self.free.release()

    def _take(self, setup: Setup) -> Child:
        with self.lock:
            for child in self.idle:
                if child.setup == setup:
                    self.idle.remove(child)
                    return child
            while len(self.idle) >= CHILDREN:
                self.idle.pop(0).close()
        return Child(setup)
