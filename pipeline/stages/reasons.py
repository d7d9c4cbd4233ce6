"""Every reason code that a ledger can hold, with the stage that writes it and a sentence that says what it means.

Rules and stages declare their own; this is the list of all. `zhclip reasons` prints it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.stages.registry import STAGES

PLACEHOLDER = re.compile(r"NAME|STATUS")
"""The part of a code that stands for a name out of the recipe, or for an HTTP status."""


@dataclass(frozen=True)
class Reason:
    """One reason code, or a family of codes that differ in a name or number."""

    code: str  # such as caption_too_long, test_set_NAME, http_STATUS
    stage: str  # whose ledger holds it
    description: str  # one sentence, without a capital and a full stop

    def matches(self, code: str) -> bool:
        """Whether a code of a ledger is this one, or one of this family."""
        parts = PLACEHOLDER.split(self.code)
        return re.fullmatch(".+".join(map(re.escape, parts)), code) is not None


def all_reasons() -> Iterator[Reason]:
    """All of them, in the order of the flow."""
    for name, stage in STAGES.items():
        for code, description in stage.reasons.items():
            yield Reason(code, name, description)


def reason_of(stage: str, code: str) -> Reason | None:
    """The entry of a code in the ledger of a stage; None where no stage and no rule declares it."""
    exact_first = sorted(all_reasons(), key=lambda reason: reason.code != code)
    return next((reason for reason in exact_first if reason.stage == stage and reason.matches(code)), None)
