"""Content in messages."""

from __future__ import annotations

MAX_SHOWN = 60  # characters


def shown(content: object) -> str:
    """Some content as Python writes it, short enough for a message."""
    text = repr(content)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
