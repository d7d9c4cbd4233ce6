"""What differs between two configurations, value by value."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

MAX_SHOWN = 80  # characters of a value
CONTEXT = 20  # characters shown before the first difference of two long values
ABSENT: Any = object()


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Yield a line `path: old → new` for every value in which two structures of JSON types differ.

    Mappings and lists are compared item by item (`stages.0.steps: 5 → 6`); an item that one of them lacks is `absent`
    there. The two values of a line never look the same, however long they are.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from differences(old.get(key, ABSENT), new.get(key, ABSENT), _join(path, key))
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple):
        for number, (old_item, new_item) in enumerate(zip_longest(old, new, fillvalue=ABSENT)):
            yield from differences(old_item, new_item, _join(path, number))
    elif old != new:
        yield f"{path}: {' → '.join(_shown(_text(old), _text(new)))}"


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _text(value: Any) -> str:
    return "absent" if value is ABSENT else json.dumps(value, ensure_ascii=False)


def _shown(old: str, new: str) -> tuple[str, str]:
    """Both texts, long ones cut, in a way that keeps their first difference."""
    same = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    start = same - CONTEXT if same > MAX_SHOWN - 2 * CONTEXT else 0
    return _cut(old, start), _cut(new, start)


def _cut(text: str, start: int) -> str:
    text = text if start <= 0 else f"…{text[start:]}"
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
