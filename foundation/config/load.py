"""Read a configuration from YAML, and say what is wrong with it: file, line, name, value, and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from foundation.config.explain import Steps, problems
from foundation.config.model import ConfigError
from foundation.config.override import Override, parse_override
from foundation.text import counted, kind_of

Model = TypeVar("Model", bound=BaseModel)


def load(
    model: type[Model], path: str | Path, overrides: Sequence[str] = (), kind: str = "recipe", missing: str = ""
) -> Model:
    """Read `model` from a YAML file.

    Args:
        overrides: `key.path=value` with the value in YAML, laid over the file in order; `stages.0.steps=5` reaches into
            a list.
        kind: what the file is, for messages.
        missing: the message where there is no such file.

    Raises:
        ConfigError: the file is missing, is not UTF-8 or not YAML, or holds a value that is not allowed.
    """
    path = Path(path)
    return parse(model, _read(path, kind, missing), str(path), overrides, kind)


def parse(model: type[Model], text: str, path: str, overrides: Sequence[str] = (), kind: str = "recipe") -> Model:
    """Read `model` from YAML that was read from `path`, as `load` does.

    Raises:
        ConfigError: it is not YAML, or holds a value that is not allowed.
    """
    content = _parse(path, text)
    if not isinstance(content, dict):
        needed = " and ".join(f"`{name}`" for name, field in model.model_fields.items() if field.is_required())
        raise ConfigError(f"{path}: a {kind} is a mapping with {needed}; found {kind_of(content)}")
    parsed = [parse_override(text) for text in overrides]
    for override in parsed:
        override.apply(content)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ConfigError(_explain(model, error, path, text, parsed, kind)) from None


def dump(config: BaseModel) -> str:
    """All values, defaults included, as YAML; `load` makes an equal configuration of it."""
    return yaml.safe_dump(config.model_dump(mode="json"), allow_unicode=True, sort_keys=False, width=120)


def location(path: str | Path, steps: Steps) -> str:
    """FILE:LINE of the value at `steps` (names, and numbers in lists); FILE alone where the file does not hold it."""
    return _place(str(path), yaml.compose(Path(path).read_text(encoding="utf-8")), steps)


def _read(path: Path, kind: str, missing: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(missing or f"{path}: there is no such {kind}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise ConfigError(f"{path}: this {kind} cannot be read: {error.strerror}") from None


def _parse(path: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else path
        raise ConfigError(f"{where}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from None


def _explain(
    model: type[BaseModel], error: ValidationError, path: str, text: str, overrides: Sequence[Override], kind: str
) -> str:
    root = yaml.compose(text)
    all_problems = list(problems(model, error))
    lines = [f"{path}: {counted(len(all_problems), 'error')}"]
    for problem in all_problems:
        override = next((o for o in reversed(overrides) if o.steps == problem.steps[: len(o.steps)]), None)
        where = f"--set {override.text}" if override else _place(path, root, problem.steps)
        name = ".".join(map(str, problem.steps)) or f"the {kind}"
        lines.append(f"  {where}  {name}: {problem.message}")
    return "\n".join(lines)


def _place(path: str, root: yaml.Node | None, steps: Steps) -> str:
    line = line_of(root, steps)
    return f"{path}:{line}" if line else path


def line_of(node: yaml.Node | None, steps: Steps) -> int | None:
    """The line, from 1, of the deepest part of `steps` that the YAML node holds."""
    line = None
    for step in steps:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, child) for key, child in reversed(node.value) if key.value == str(step)), None)
            if pair is None:
                return line
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            return line
    return line
