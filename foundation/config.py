"""Configuration: closed, immutable models whose values describe themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def value(default: Any, description: str, unit: str = "", **bounds: Any) -> Any:
    """A recipe value: a pydantic field whose default, description and unit `zhclip recipe show` prints."""
    return Field(default, description=description, json_schema_extra={"unit": unit}, **bounds)


class Config(BaseModel):
    """A part of a recipe: immutable, and closed against misspelt keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def differences(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """Lines `place: old → new` for every value in which two plain structures differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from differences(old.get(key), new.get(key), f"{place}.{key}" if place else str(key))
    elif old != new:
        yield f"{place}: {_short(old)} → {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "…"
