"""Policies: the rules that a run must keep, as validated YAML."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, model_validator

from foundation.config import Config, value
from foundation.errors import InvalidInput
from pipeline.inspect.check.drift import ScoreDrift
from pipeline.inspect.check.query import Query
from pipeline.inspect.check.rule import Rule
from pipeline.inspect.check.shares import (
    DownloadFailure,
    KeptShare,
    KeptShareChange,
    LargestShare,
    Pairs,
    UnreadableShare,
)
from pipeline.inspect.check.whole import Complete, Conservation, Contamination
from pipeline.recipe.model import line_of

DEFAULT = Path(__file__).with_name("default.yaml")
KINDS: dict[str, type[Rule]] = {
    "complete": Complete,
    "conservation": Conservation,
    "contamination": Contamination,
    "pairs": Pairs,
    "kept_share": KeptShare,
    "kept_share_change": KeptShareChange,
    "download_failure": DownloadFailure,
    "unreadable_share": UnreadableShare,
    "largest_share": LargestShare,
    "score_drift": ScoreDrift,
    "sql": Query,
}
AnyRule = Annotated[
    Complete
    | Conservation
    | Contamination
    | Pairs
    | KeptShare
    | KeptShareChange
    | DownloadFailure
    | UnreadableShare
    | LargestShare
    | ScoreDrift
    | Query,
    Field(discriminator="rule"),
]


class PolicyError(InvalidInput, ValueError):
    """A policy that cannot be used; the message names the file, the place, and what to do."""


class Policy(Config):
    """The rules, in the order in which they are shown."""

    rules: tuple[AnyRule, ...] = value(..., "what a run must keep", min_length=1)

    @model_validator(mode="after")
    def _names_tell_rules_apart(self) -> Policy:
        names = [rule.name for rule in self.rules if rule.name]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two rules are named {', '.join(twice)}; names must differ")
        return self


def load_policy(path: str | Path) -> Policy:
    """The policy in a YAML file.

    Raises:
        PolicyError: the file is missing, is not YAML, or holds a rule or value that is not allowed.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (FileNotFoundError, IsADirectoryError):
        raise PolicyError(
            f"{path}: there is no such policy; `zhclip check --example` prints one to start from"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path}: not YAML: {error}") from None
    if not isinstance(content, dict):
        raise PolicyError(f"{path}: a policy is a mapping with a list of `rules`; found {type(content).__name__}")
    try:
        return Policy.model_validate(content)
    except ValidationError as error:
        raise PolicyError(_explain(error, path, text)) from None


def place_of(path: str | Path, number: int) -> str:
    """FILE:LINE of a rule, counted from 0."""
    line = line_of(yaml.compose(Path(path).read_text(encoding="utf-8")), ("rules", number))
    return f"{path}:{line}"


def _explain(error: ValidationError, path: Path, text: str) -> str:
    root = yaml.compose(text)
    lines = [f"{path}: {error.error_count()} thing{'s' if error.error_count() > 1 else ''} to mend"]
    for problem in error.errors():
        place = problem["loc"][:2] + problem["loc"][3:]  # pydantic puts the kind of a rule behind its number
        line = line_of(root, place)
        where = f"{path}:{line}" if line else str(path)
        lines.append(f"  {where}  {'.'.join(map(str, place)) or 'the policy'}: {_problem(problem)}")
    return "\n".join(lines)


def _problem(problem: Mapping[str, Any]) -> str:
    place = problem["loc"]
    if problem["type"] == "extra_forbidden":
        known = KINDS[place[2]].model_fields if len(place) > 2 else Policy.model_fields
        return f"unknown name; {_nearest(str(place[-1]), list(known))}"
    if problem["type"] == "union_tag_invalid":
        return f"unknown rule {problem['ctx']['tag']}; {_nearest(problem['ctx']['tag'], list(KINDS))}"
    if problem["type"] == "union_tag_not_found":
        return f"which rule? `rule:` is one of {', '.join(KINDS)}"
    if problem["type"] == "missing":
        return "a value is needed"
    message = problem["msg"].removeprefix("Value error, ")
    found = "" if isinstance(problem["input"], (dict, list)) else f"; found {problem['input']!r}"
    return message[0].lower() + message[1:] + found


def _nearest(given: str, known: list[str]) -> str:
    near = difflib.get_close_matches(given, known, n=1)
    return f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}"
