"""Content and numbers in messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

MAX_SHOWN = 60  # characters


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number and what it counts: `1 row`, `2,000 rows`.

    Args:
        noun: in the singular.
        plural: where it is not `noun` and an s.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def kind_of(content: object) -> str:
    """What kind of value something is, in the words of a person who writes YAML: nothing, text, a number, a list …"""
    kinds: list[tuple[Any, str]] = [
        (str, "text"),
        (bool, "true or false"),
        ((int, float), "a number"),
        (Mapping, "a mapping"),
    ]
    kinds += [((list, tuple, set), "a list"), (date, "a date")]
    if content is None:
        return "nothing"
    return next((words for kind, words in kinds if isinstance(content, kind)), type(content).__name__)


def shown(content: object) -> str:
    """Content of a message: text as Python writes it, other values as YAML does; cut where it is long."""
    text = "nothing" if content is None else json.dumps(content) if isinstance(content, bool) else repr(content)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
