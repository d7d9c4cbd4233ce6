"""What a part of a configuration is, and how a value of it is declared."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from foundation.errors import InvalidInput


def value(default: Any, description: str, unit: str = "", **bounds: Any) -> Any:
    """Declare a value: a pydantic field with the default, description and unit that `zhclip recipe show` prints.

    A default that is a Config class stands for one with its own defaults, made when a configuration is, not on import.
    """
    key = "default_factory" if isinstance(default, type) else "default"
    return Field(**{key: default}, description=description, json_schema_extra={"unit": unit}, **bounds)


class ConfigError(InvalidInput, ValueError):
    """A recipe, training recipe or policy that cannot be used; the message names file, line, value and what is allowed."""


class Config(BaseModel):
    """A part of a configuration: immutable, and closed against misspelt names."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
