"""What can be done to a finished run, by name: functions that change a copy. HARMLESS ones change nothing that it says or holds."""

from __future__ import annotations

from collections.abc import Callable

from tests.pipeline.inspect.verify.copies import Copy

Manipulation = Callable[[Copy], object]
CASES: dict[str, Manipulation] = {}
HARMLESS = ("recipe: comment", "recipe: value of speed", "times: garbage", "times: deleted", "tar behind a link")
STAGES = ("read", "filter", "plan", "download", "score", "select", "publish")


def case(name: str) -> Callable[[Manipulation], Manipulation]:
    """Enter a manipulation under a name."""

    def enter(manipulation: Manipulation) -> Manipulation:
        assert name not in CASES
        CASES[name] = manipulation
        return manipulation

    return enter
