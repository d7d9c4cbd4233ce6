"""X-Robots-Tag: whether a server forbids the use of what it sends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

_AGENT = re.compile(r"[a-z][a-z0-9._/-]*|\*")  # no spaces, no digit first: the time in a date has colons as well
# Directives that take a value after a colon; any other "name:" is the user agent that the following directives are for.
# Source: Google's robots meta tag and X-Robots-Tag specification.
VALUED = frozenset({"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"})


def forbids(headers: Iterable[str], token: str, forbidden: Sequence[str]) -> str | None:
    """The first directive in `headers` (all X-Robots-Tag values of an answer) that is one of `forbidden`, or None.

    Directives without a user agent, or for the agents `token` and `*`, count. `none` means noindex and nofollow.
    """
    unwanted = {directive.strip().lower() for directive in forbidden}
    if unwanted & {"noindex", "nofollow"}:
        unwanted.add("none")
    ours = {"*", token.strip().lower()}
    for header in headers:
        for agent, directive in _directives(header):
            if directive in unwanted and (agent is None or agent in ours):
                return directive
    return None


def _directives(header: str) -> Iterator[tuple[str | None, str]]:
    """Pairs of user agent (None: everyone) and directive. Servers and proxies also fold several headers into one."""
    agent = None
    for part in header.lower().split(","):
        name, colon, rest = (piece.strip() for piece in part.partition(":"))
        if colon and name not in VALUED and _AGENT.fullmatch(name):
            agent, name = name, rest.partition(":")[0].strip()
        yield agent, name
