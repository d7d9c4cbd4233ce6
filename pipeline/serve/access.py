"""Access to the service: who may send requests, and the security headers of every response."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "zhclip_session"
MIN_TOKEN = 16  # characters
OPEN = ("/healthz", "/login", "/static/")  # asked without a token
PAGES = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": PAGES,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "private, no-cache",
}
"""Headers of every response that does not set them itself."""


def is_loopback(host: str) -> bool:
    """Whether a host, as a person names it, is this machine and no other."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"


@dataclass(frozen=True)
class Access:
    """Who may send requests: anyone on this machine, or whoever has the token."""

    loopback: bool  # only names of this machine are answered, so that no web site can point a name of its domain here
    token: str = ""

    @property
    def session(self) -> str:
        """The value of the cookie: derived from the token, which it does not reveal."""
        return hmac.new(self.token.encode(), b"zhclip serve session", hashlib.sha256).hexdigest()

    def knows(self, token: str) -> bool:
        """Whether `token` is the token, compared in constant time."""
        return hmac.compare_digest(token.encode(), self.token.encode())

    def refusal(self, method: str, path: str, headers: Headers, cookies: Mapping[str, str]) -> Response | None:
        """The response to a request that is refused; None where it is allowed."""
        if self.loopback and not is_loopback(_host(headers)):
            return PlainTextResponse(
                "This service answers to the names of this machine only, such as localhost.\n", 421
            )
        if _foreign(method, headers):
            return PlainTextResponse("Refused: another site made this request.\n", 403)
        if not self.token or path.startswith(OPEN) or self._has_token(headers, cookies):
            return None
        if method == "GET" and "text/html" in headers.get("accept", ""):
            return RedirectResponse("/login", 303)
        return PlainTextResponse("A token is needed: Authorization: Bearer …\n", 401, {"www-authenticate": "Bearer"})

    def _has_token(self, headers: Headers, cookies: Mapping[str, str]) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        session = cookies.get(COOKIE, "")
        return (kind.lower() == "bearer" and self.knows(given.strip())) or hmac.compare_digest(
            session.encode(), self.session.encode()
        )


class AccessMiddleware:
    """ASGI middleware that refuses requests, or passes them on and adds HEADERS to the response."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI request with a refusal, or with the application's answer and the headers."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        refused = self.access.refusal(request.method, scope["path"], request.headers, request.cookies)
        await (refused or self.app)(scope, receive, sent)


def _host(headers: Headers) -> str:
    host = headers.get("host", "")
    return host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.rsplit(":", 1)[0]


def _foreign(method: str, headers: Headers) -> bool:
    """Whether another site made a browser send this: never a form of it, and of what it embeds nothing.

    Following a link from another site to a page here is fine.
    """
    site, mode, origin = (headers.get(name, "") for name in ("sec-fetch-site", "sec-fetch-mode", "origin"))
    if method in ("GET", "HEAD"):
        return site in ("cross-site", "same-site") and mode != "navigate"
    if site:
        return site not in ("same-origin", "none")
    return bool(origin) and urlsplit(origin).netloc != headers.get("host", "")
