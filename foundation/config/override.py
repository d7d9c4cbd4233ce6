"""Overrides from the command line: `key.path=value`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from foundation.config.model import ConfigError
from foundation.text import shown


@dataclass(frozen=True)
class Override:
    """A value and the path that it goes to."""

    text: str  # as it was given
    steps: tuple[str | int, ...]  # names; numbers where the text has digits, which are names in a mapping all the same
    value: Any

    def apply(self, content: dict[str, Any]) -> None:
        """Set the value in `content`, making mappings on the way where there are none yet.

        Raises:
            ConfigError: the path leads through a value that is neither a mapping nor a list, or beyond a list's end.
        """
        *parents, last = self.steps
        target: Any = content
        for depth, step in enumerate(parents):
            step = self._key(target, step, depth)
            if isinstance(target, dict) and target.get(step) is None:
                target[step] = {}
            target = target[step]
        target[self._key(target, last, len(parents))] = self.value

    def _key(self, target: Any, step: str | int, depth: int) -> str | int:
        """`step` as a key of the mapping, or a position in the list, that the first `depth` steps led to."""
        if isinstance(target, dict):
            return str(step)
        path = ".".join(map(str, self.steps[:depth]))
        if not isinstance(target, list):
            raise ConfigError(f"--set {self.text}: {path} is {shown(target)}, which holds no `{step}`")
        if not isinstance(step, int) or step >= len(target):
            raise ConfigError(f"--set {self.text}: {path} is a list of {len(target)}, counted from 0; found {step}")
        return step


def parse_override(text: str) -> Override:
    """Read `key.path=value`, the value in YAML.

    Raises:
        ConfigError: there is no path, no `=`, or a value that is not YAML.
    """
    path, equals, written = text.partition("=")
    if not equals or not all(path.split(".")):
        raise ConfigError(f"--set {text}: expected key.path=value, such as download.threads=8 or stages.0.steps=100")
    try:
        content = yaml.safe_load(written)
    except yaml.YAMLError as error:
        reason = getattr(error, "problem", None) or error
        raise ConfigError(f"--set {text}: the value is not YAML: {reason}") from None
    return Override(text, tuple(int(step) if step.isdecimal() else step for step in path.split(".")), content)
