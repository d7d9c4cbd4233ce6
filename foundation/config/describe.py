"""A configuration as YAML that explains itself: what each value means, and its unit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel

COMMENT_COLUMN = 48


def annotated(config: BaseModel) -> str:
    """YAML that loads to an equal configuration, with the description and unit of every value beside it."""
    return "\n".join(_lines(config, 0)) + "\n"


def _lines(config: BaseModel, depth: int) -> Iterator[str]:
    for name, field in type(config).model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        unit = f" [{extra['unit']}]" if extra.get("unit") else ""
        comment = f"{field.description}{unit}" if field.description else ""
        yield from _entry(name, getattr(config, name), comment, depth)


def _entry(name: str, content: Any, comment: str, depth: int) -> Iterator[str]:
    indent = "  " * depth
    if isinstance(content, BaseModel) and type(content).model_fields:
        yield _commented(f"{indent}{name}:", comment)
        yield from _lines(content, depth + 1)
    elif isinstance(content, dict) and any(isinstance(child, BaseModel) for child in content.values()):
        yield _commented(f"{indent}{name}:", comment)
        for key, child in content.items():
            yield from _entry(str(key), child, (type(child).__doc__ or "").split("\n")[0], depth + 1)
    else:
        yield _commented(f"{indent}{name}: {_flow(content)}", comment)


def _flow(content: Any) -> str:
    """The value in YAML's form for one line."""
    text = yaml.safe_dump(_plain(content), default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def _plain(content: Any) -> Any:
    """The value in types that YAML has."""
    if isinstance(content, BaseModel):
        return content.model_dump(mode="json")
    return [_plain(item) for item in content] if isinstance(content, tuple | list) else content


def _commented(line: str, comment: str) -> str:
    return f"{line:<{COMMENT_COLUMN - 1}} # {comment}" if comment else line
