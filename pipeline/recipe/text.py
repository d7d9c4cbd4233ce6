"""A resolved recipe as YAML that explains itself: what each value means, and its unit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel

from pipeline.recipe import Recipe

COMMENT_COLUMN = 48


def annotated(recipe: Recipe) -> str:
    """YAML that loads to an equal recipe, with the description and unit of every value beside it."""
    return "\n".join(_lines(recipe, 0)) + "\n"


def _lines(model: BaseModel, depth: int) -> Iterator[str]:
    for name, field in type(model).model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        unit = f" [{extra['unit']}]" if extra.get("unit") else ""
        comment = f"{field.description}{unit}" if field.description else ""
        yield from _entry(name, getattr(model, name), comment, depth)


def _entry(name: str, found: Any, comment: str, depth: int) -> Iterator[str]:
    indent = "  " * depth
    if isinstance(found, BaseModel) and type(found).model_fields:
        yield _commented(f"{indent}{name}:", comment)
        yield from _lines(found, depth + 1)
    elif isinstance(found, dict) and any(isinstance(child, BaseModel) for child in found.values()):
        yield _commented(f"{indent}{name}:", comment)
        for key, child in found.items():
            yield from _entry(str(key), child, (type(child).__doc__ or "").split("\n")[0], depth + 1)
    else:
        yield _commented(f"{indent}{name}: {_value(found)}", comment)


def _value(found: Any) -> str:
    plain = found.model_dump(mode="json") if isinstance(found, BaseModel) else found
    plain = list(plain) if isinstance(plain, tuple) else plain
    text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def _commented(line: str, comment: str) -> str:
    return f"{line:<{COMMENT_COLUMN - 1}} # {comment}" if comment else line
