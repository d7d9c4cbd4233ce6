"""Policies: the rules that a run must keep, as validated YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from foundation.config import Config, load, value
from pipeline.inspect.check.drift import ScoreDrift
from pipeline.inspect.check.query import Query
from pipeline.inspect.check.rule import Rule
from pipeline.inspect.check.run_rules import Complete, Conservation, Contamination
from pipeline.inspect.check.share_rules import (
    DownloadFailure,
    KeptShare,
    KeptShareChange,
    LargestShare,
    Pairs,
    UnreadableShare,
)

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
    """Read the policy in a YAML file.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds a rule or value that is not allowed.
    """
    missing = f"{path}: there is no such policy; `zhclip check --example` prints one to start from"
    return load(Policy, path, kind="policy", missing=missing)
