"""Templates, and how values look in them. Everything that goes into a page is escaped, unless this module made it."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import quote, urlsplit

from jinja2 import Environment
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from pipeline.inspect.readable import count, share, size, templates

KEYS = re.compile(r"\b[0-9a-f]{32}\b")
STATES = {
    "published": "published",
    "kept": "kept",
    "rejected": "dropped",
    "failed": "failed",
    "waiting": "on the way",
    "out_of_scope": "other language",
}
LONGEST_LIST = 12  # values that are shown; an embedding has hundreds
AGES = ((86_400.0, "day"), (3_600.0, "hour"), (60.0, "minute"), (1.0, "second"))


def page(name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A template as an answer."""
    return HTMLResponse(TEMPLATES.get_template(name).render(**values), status)


def ago(seconds: float) -> str:
    """How long a moment (Unix seconds) lies back."""
    if not seconds:
        return "never"
    passed = max(0.0, time.time() - seconds)
    for length, unit in AGES:
        if passed >= length:
            count = int(passed / length)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def host(url: str | None) -> str:
    """The host of a url of the web; nothing for others."""
    try:
        found = urlsplit(url or "")
        return (found.hostname or "") if found.scheme in ("http", "https") else ""
    except ValueError:
        return ""


def path(*parts: str) -> str:
    """An address here, of parts that may hold anything."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


def with_links(text: str | None, run: str) -> Markup:
    """A text in which keys of pairs lead to their pages."""
    pieces, end = [], 0
    for found in KEYS.finditer(text or ""):
        pieces.append(escape((text or "")[end : found.start()]))
        pieces.append(Markup('<a href="{}">{}</a>').format(path("runs", run, "pairs", found[0]), found[0]))
        end = found.end()
    return Markup("").join([*pieces, escape((text or "")[end:])])


def shown(value: Any) -> str:
    """Any value of a row as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        more = f", … ({len(value):,} values)" if len(value) > LONGEST_LIST else ""
        return ", ".join(map(shown, value[:LONGEST_LIST])) + more
    return str(value)


def _templates() -> Environment:
    found = templates("pipeline.serve")
    found.filters.update(number=count, size=size, ago=ago, host=host, shown=shown, with_links=with_links)
    found.globals.update(path=path, share=share, STATES=STATES)
    return found


TEMPLATES = _templates()
