"""Templates and their filters. Everything in a page is escaped, except for markup that this module makes."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import quote, urlsplit

from jinja2 import Environment
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from foundation.text import counted
from pipeline.inspect.readable import count, share, size, templates

KEYS = re.compile(r"\b[0-9a-f]{32}\b")
MAX_LIST = 12  # values that are shown; an embedding has hundreds
AGES = ((86_400.0, "day"), (3_600.0, "hour"), (60.0, "minute"), (1.0, "second"))


def page(name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Render a template as a response."""
    return HTMLResponse(TEMPLATES.get_template(name).render(**values), status)


def ago(seconds: float) -> str:
    """How long ago a moment (Unix seconds) was, in words."""
    if not seconds:
        return "never"
    passed = max(0.0, time.time() - seconds)
    for length, unit in AGES:
        if passed >= length:
            count = int(passed / length)
            return f"{counted(count, unit)} ago"
    return "just now"


def host(url: str | None) -> str:
    """The host of an http or https url; empty for others."""
    try:
        parts = urlsplit(url or "")
        return (parts.hostname or "") if parts.scheme in ("http", "https") else ""
    except ValueError:
        return ""


def path(*parts: str) -> str:
    """The path of a page, its parts quoted."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


def with_links(text: str | None, run: str) -> Markup:
    """`text` as markup in which keys of pairs are links to their pages."""
    pieces, end = [], 0
    for match in KEYS.finditer(text or ""):
        pieces.append(escape((text or "")[end : match.start()]))
        pieces.append(Markup('<a href="{}">{}</a>').format(path("runs", run, "pairs", match[0]), match[0]))
        end = match.end()
    return Markup("").join([*pieces, escape((text or "")[end:])])


def shown(value: Any) -> str:
    """A value of a row as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        more = f", … ({len(value):,} values)" if len(value) > MAX_LIST else ""
        return ", ".join(map(shown, value[:MAX_LIST])) + more
    return str(value)


def _templates() -> Environment:
    environment = templates("pipeline.serve")
    environment.filters.update(
        number=count, counted=counted, size=size, ago=ago, host=host, shown=shown, with_links=with_links
    )
    environment.globals.update(path=path, share=share)
    return environment


TEMPLATES = _templates()
