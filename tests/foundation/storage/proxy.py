"""A TCP proxy on loopback that loses answers, so that a request is done and its client hears nothing, or that refuses requests."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from types import TracebackType
from urllib.parse import urlsplit


class Cutting:
    """Forwards to a server, as HTTP/1.1 without pipelining: a request is whole when the server begins to answer it.

    Attributes:
        lost: answers that were lost and requests that were refused since the last `cut` or `refuse`.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._left = 0
        self.lost = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._pattern, self._answer = re.compile(b""), b""

    def cut(self, count: int, pattern: str = "") -> None:
        """Lose the answers to the next `count` requests of those whose first line begins as the pattern says."""
        self._next(count, pattern, b"")

    def refuse(self, count: int, pattern: str, status: int, code: str) -> None:
        """Answer the next such requests so, without the server."""
        body = f"<Error><Code>{code}</Code></Error>".encode()
        head = f"HTTP/1.1 {status} Reason\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        self._next(count, pattern, head.encode() + body)

    def _next(self, count: int, pattern: str, answer: bytes) -> None:
        with self._lock:
            self._left, self.lost, self._pattern, self._answer = count, 0, re.compile(pattern.encode()), answer

    def __enter__(self) -> Cutting:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(self._target) as server:
            last = [b""]
            threading.Thread(target=self._forward, args=(client, server, last), daemon=True).start()
            while answer := server.recv(1 << 16):
                if not self._answer and self._takes(last[0]):
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(answer)

    def _forward(self, client: socket.socket, server: socket.socket, last: list[bytes]) -> None:
        with suppress(OSError):
            while content := client.recv(1 << 16):
                if b" HTTP/1.1\r\n" in content:
                    last[0] = content.split(b"\r\n", 1)[0]
                    if self._answer and self._takes(last[0]):
                        client.sendall(self._answer)
                        client.shutdown(socket.SHUT_WR)
                        while client.recv(1 << 16):  # the rest of the request
                            pass
                        break
                server.sendall(content)
            server.shutdown(socket.SHUT_WR)

    def _takes(self, request: bytes) -> bool:
        """Whether something is to be done to the request."""
        with self._lock:
            if self._left and self._pattern.match(request):
                self._left -= 1
                self.lost += 1
                return True
            return False
