"""Content and numbers in messages."""

from __future__ import annotations

MAX_SHOWN = 60  # characters


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number and what it counts: `1 row`, `2,000 rows`.

    Args:
        noun: in the singular.
        plural: where it is not `noun` and an s.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def shown(content: object) -> str:
    """Some content as Python writes it, short enough for a message."""
    text = repr(content)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
