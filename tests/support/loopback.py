"""A real HTTP server on loopback that answers as it is told and counts what it is asked."""

from __future__ import annotations

import http.server
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from pipeline.recipe.download import Download


@dataclass(frozen=True)
class Answer:
    """What the server says once. `raw` replaces everything; a drip is single bytes with a pause of so many
    seconds after each."""

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    length: int | None = None  # Content-Length, where it is to be wrong; -1: none at all
    raw: bytes | None = None
    drip: float = 0
    drip_headers: float = 0
    delay: float = 0  # seconds of silence first

    def head(self) -> bytes:
        """Status line and headers."""
        length = len(self.body) if self.length is None else self.length
        lines = [f"HTTP/1.1 {self.status} Reason", *(f"{name}: {text}" for name, text in self.headers)]
        if length >= 0:
            lines.append(f"Content-Length: {length}")
        return "\r\n".join([*lines, "", ""]).encode("utf-8")


class Server(http.server.ThreadingHTTPServer):
    """One that lets as many clients knock at once as a shard has threads."""

    daemon_threads = True
    request_queue_size = 256


class Web:
    """The server: `put` says what a path answers, the n-th request getting the n-th answer and later ones the last."""

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()
        self.asked = threading.Event()  # set at each request
        self.dropped = threading.Event()  # set when a client went away from a dripping answer
        self._answers: dict[str, tuple[Answer, ...]] = {}
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web._handle(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def put(self, path: str, *answers: Answer) -> str:
        """Answer requests for `path` (as it stands in the request line) so; the answer is the url."""
        self._answers[path] = answers
        return f"http://{self.host}{path}"

    def config(self, **changes: Any) -> Download:
        """A recipe part that may ask this server, with short pauses."""
        return Download(**{"allow_hosts": (self.host,), "backoff": 0.01, **changes})

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, request: http.server.BaseHTTPRequestHandler) -> None:
        answers = self._answers.get(request.path, (Answer(b"no such page", 404),))
        answer = answers[min(self.hits[request.path], len(answers) - 1)]
        self.hits[request.path] += 1
        self.asked.set()
        try:
            time.sleep(answer.delay)
            if answer.raw is not None:
                request.wfile.write(answer.raw)
                return
            self._send(request, answer.head(), answer.drip_headers)
            self._send(request, answer.body, answer.drip)
        except OSError:
            self.dropped.set()

    @staticmethod
    def _send(request: http.server.BaseHTTPRequestHandler, data: bytes, pause: float) -> None:
        if not pause:
            request.wfile.write(data)
            return
        for byte in data:
            request.wfile.write(bytes([byte]))
            time.sleep(pause)
