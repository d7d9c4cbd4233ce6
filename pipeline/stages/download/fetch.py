"""One image's bytes over HTTP: redirects, opt-outs, caps, retries, under one deadline."""

from __future__ import annotations

import email.utils
import hashlib
import http.client
import math
import random
import time
import zlib
from dataclasses import dataclass

from foundation.failure import Failure
from foundation.urls import Target, parse, redirected
from pipeline.recipe.download import Download
from pipeline.stages.download.guard import BoundSocket, Deadline, Guard
from pipeline.stages.download.robots import forbids

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 425, 429, *range(500, 600)})


@dataclass(frozen=True)
class Fetched:
    """A body as the server sent it (decompressed), its SHA-256 in hexadecimal, and its Content-Type as sent."""

    body: bytes
    sha256: str
    content_type: str | None


class Fetcher:
    """Fetches images one by one; safe to use from many threads.

    Example:
        >>> Fetcher(Download(allow_hosts=("127.0.0.1",))).fetch("http://127.0.0.1:8000/猫.jpg").body
    """

    def __init__(self, config: Download) -> None:
        self._config = config
        self._guard = Guard(config.allow_hosts, config.timeout)
        self._headers = (
            f"User-Agent: {config.user_agent}\r\nAccept: image/jpeg,image/png,image/*;q=0.8,*/*;q=0.5\r\n"
            "Accept-Encoding: identity\r\nConnection: close\r\n\r\n"
        )

    def fetch(self, url: str | None, longest: float = math.inf) -> Fetched:
        """The bytes behind `url`, within `longest` seconds where the recipe's deadline for one image allows more.

        Raises:
            Failure: the last try's, whatever it was.
        """
        deadline = Deadline(min(self._config.deadline, longest))
        for attempt in range(self._config.retries + 1):
            try:
                return self._follow(parse(url), deadline)
            except Failure as failure:
                pause = self._pause(failure, attempt)
                if pause is None or pause >= deadline.left():
                    raise
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _pause(self, failure: Failure, attempt: int) -> float | None:
        """Seconds to wait before the next try; None when there is to be none."""
        if not failure.passing or attempt == self._config.retries:
            return None
        jittered = self._config.backoff * 2**attempt * random.uniform(0.5, 1.5)
        return max(jittered, failure.retry_after or 0.0)

    def _follow(self, target: Target, deadline: Deadline) -> Fetched:
        for _ in range(self._config.max_redirects + 1):
            answer = self._request(target, deadline)
            if isinstance(answer, Fetched):
                return answer
            target = redirected(target, answer)
        raise Failure("too_many_redirects", f"more than {self._config.max_redirects}")

    def _request(self, target: Target, deadline: Deadline) -> Fetched | str:
        """The body, or the Location that a redirect names."""
        try:
            sock = self._guard.connect(target, deadline)
            try:
                return self._exchange(target, sock)
            finally:
                sock.close()
        except TimeoutError as error:
            raise Failure("timeout", str(error) or "timed out", passing=True) from error
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: header numbers that are none
            raise Failure("connection_lost", f"{type(error).__name__}: {error}", passing=True) from error

    def _exchange(self, target: Target, sock: BoundSocket) -> Fetched | str:
        sock.sendall(f"GET {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\n{self._headers}".encode("ascii"))
        # urllib3 and http.client's connection add nothing here but cost: one request, then the connection is closed.
        response = http.client.HTTPResponse(sock, method="GET")  # type: ignore[arg-type]
        response.begin()
        location = response.headers.get("Location")
        if response.status in _REDIRECTS and location:
            return location
        if response.status != 200:
            raise _refusal(response)
        tags = response.headers.get_all("X-Robots-Tag", [])
        directive = forbids(tags, self._config.user_agent_token, self._config.opt_out_directives)
        if directive:
            raise Failure("opted_out", directive)
        body = self._body(response)
        return Fetched(body, hashlib.sha256(body).hexdigest(), response.headers.get("Content-Type"))

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        cap = self._config.max_bytes
        if (response.length or 0) > cap:
            raise Failure("too_many_bytes", f"{response.length} bytes declared")
        body = response.read(cap + 1 if response.length is None else response.length)
        if len(body) > cap:
            raise Failure("too_many_bytes", f"more than {cap} bytes sent")
        if response.length:
            raise Failure("connection_lost", f"{response.length} bytes of the body are missing", passing=True)
        body = _decompressed(body, response.headers.get("Content-Encoding", ""), cap)
        if not body:
            raise Failure("empty_response", "status 200 without a body")
        return body


def _refusal(response: http.client.HTTPResponse) -> Failure:
    passing = response.status in _PASSING
    asked = _retry_after(response.headers.get("Retry-After")) if passing else None
    return Failure(f"http_{response.status}", response.reason or "", passing=passing, retry_after=asked)


def _retry_after(header: str | None) -> float | None:
    """Seconds from now, of a number or an HTTP date (RFC 9110, 10.2.3); None when there is none to be read."""
    if not header:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def _decompressed(body: bytes, encoding: str, cap: int) -> bytes:
    """gzip and deflate undone, for servers that compress unasked, without ever holding more than `cap` bytes."""
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return body  # identity; a real other encoding fails to decode as an image
    unpacker = zlib.decompressobj(wbits=47)  # 32 + 15: gzip or zlib, as the header says
    try:
        plain = unpacker.decompress(body, cap + 1)
    except zlib.error as error:
        raise Failure("connection_lost", f"Content-Encoding {encoding}: {error}", passing=False) from error
    if len(plain) > cap:
        raise Failure("too_many_bytes", f"more than {cap} bytes when decompressed")
    return plain
