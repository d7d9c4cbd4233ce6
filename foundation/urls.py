"""Urls as people write them become urls as HTTP wants them."""

from __future__ import annotations

import contextlib
import re
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

import idna

from foundation.failure import Failure

PORTS = {"http": 80, "https": 443}

# What may stay as it is: the URL standard's "path" and "query percent-encode sets" (WHATWG URL, 1.3), and "%" because
# a part that is escaped already is left alone.
_PATH_SAFE = "/%:@!$&'()*+,;=~-._[]|"
_QUERY_SAFE = _PATH_SAFE + "?{}\\^`"
_ABSOLUTE = re.compile(r"https?://", re.IGNORECASE)
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"[A-Za-z0-9._~-]+|[0-9A-Fa-f:.]+(%[A-Za-z0-9._~-]+)?")


class Target(NamedTuple):
    """Where one request goes. `host` is ASCII without brackets; `path` is escaped and includes the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def netloc(self) -> str:
        """The Host header: brackets around IPv6, the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole url in ASCII."""
        return f"{self.scheme}://{self.netloc}{self.path}"


def parse(url: str | None) -> Target:
    """The target of `url`, which may hold non-ASCII hosts (IDNA, UTS 46) and paths (UTF-8), and spaces.

    A user name, a password and a fragment are dropped: none of them is to be sent.

    Raises:
        Failure: url_malformed, refused_scheme.
    """
    if not url or not url.strip():
        raise Failure("url_malformed", "no url")
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError as error:  # unbalanced brackets, a port that is no number, deceptive characters
        raise Failure("url_malformed", str(error)) from error
    if not parts.scheme:
        raise Failure("url_malformed", "no scheme")
    if parts.scheme not in PORTS:
        raise Failure("refused_scheme", parts.scheme)
    if not host or port == 0:
        raise Failure("url_malformed", "no host" if not host else "port 0")
    path = _escape(parts.path.replace("\\", "/"), _PATH_SAFE) or "/"
    query = f"?{_escape(parts.query, _QUERY_SAFE)}" if parts.query else ""
    return Target(parts.scheme, ascii_host(host), port or PORTS[parts.scheme], path + query)


def redirected(target: Target, location: str) -> Target:
    """Where a Location header found at `target` leads; raises as `parse` does.

    http.client hands headers over as Latin-1; raw UTF-8 in them is common, so that is tried first.
    """
    with contextlib.suppress(UnicodeError):  # real Latin-1 is taken as it stands
        location = location.encode("latin-1").decode("utf-8")
    try:
        location = location.strip()  # an absolute one is not joined: `urljoin` drops a semicolon at its end
        return parse(location if _ABSOLUTE.match(location) else urljoin(target.url, location))
    except ValueError as error:
        raise Failure("url_malformed", f"redirect: {error}") from error


def ascii_host(host: str) -> str:
    """The host in lower-case ASCII; raises Failure url_malformed."""
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise Failure("url_malformed", f"host: {error}") from error
    if not _HOST.fullmatch(host):
        raise Failure("url_malformed", "host has characters that no host has")
    return host.lower()


def host_and_port(entry: str) -> tuple[str, int | None]:
    """(host, port or None) of "name", "name:port", "1.2.3.4", "::1", "[::1]" or "[::1]:80".

    Raises:
        ValueError: the port is no number.
        Failure: url_malformed.
    """
    host, port = entry.strip(), ""
    if host.startswith("["):
        host, _, port = host[1:].partition("]")
        port = port.removeprefix(":")
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    return ascii_host(host), int(port) if port else None


def _escape(text: str, safe: str) -> str:
    # Lone surrogates (half an emoji cut off in the metadata) cannot be UTF-8: they become U+FFFD.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return quote(_STRAY_PERCENT.sub("%25", text), safe=safe)
