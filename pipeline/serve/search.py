"""What a visitor looks for among the pairs of a run, read from a request and checked."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from urllib.parse import urlencode

from foundation.errors import InvalidInput
from pipeline.run.outcomes import WAITING
from pipeline.stages.registry import OUTCOMES

WHERE = {
    "all": "all pairs",
    "published": "published",
    "dropped": "dropped",
    **{
        key: outcome.label
        for key, (stage, outcome) in OUTCOMES.items()
        if outcome.ledger and stage != "read"  # rows there are no pairs
    },
    WAITING.key: "on the way",
}
"""Which pairs the list shows: a key for addresses, and words for people."""
LONGEST_TEXT = 200
MOST_WORDS = 6
DOMAIN = re.compile(r"[\w.-]{1,253}|\[[0-9a-f:.]+\]")
REASON = re.compile(r"\w{1,100}")
KEY = re.compile(r"[0-9a-f]{32}")


class BadSearch(InvalidInput, ValueError):
    """A search that makes no sense; the message says why."""


@dataclass(frozen=True)
class Search:
    """What a pair must be like. Empty texts and None ask for nothing."""

    q: str = ""  # words that are all in its caption
    where: str = "all"
    source: str = ""
    reason: str = ""
    domain: str = ""  # of its url, or a part of it after a dot
    low: float | None = None  # score
    high: float | None = None

    @property
    def words(self) -> list[str]:
        """The words of `q`."""
        return self.q.split()[:MOST_WORDS]

    @property
    def narrow(self) -> bool:
        """Whether it asks for more than a place."""
        return self != Search(where=self.where)

    @property
    def query(self) -> str:
        """As the part of an address after the question mark."""
        return urlencode(self._given())

    def but(self, **changes: str) -> str:
        """The address of this search with some values changed."""
        return replace(self, **changes).query  # type: ignore[arg-type]

    def _given(self) -> dict[str, str]:
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: f"{value:g}" if isinstance(value, float) else value
                for name, value in found.items()
                if value not in ("", None) and (name, value) != ("where", "all")}  # fmt: skip


def read_search(given: Mapping[str, str]) -> Search:
    """The search that a request asks for.

    Raises:
        BadSearch: a value that cannot be.
    """
    found = {name: given.get(name, "").strip() for name in ("q", "where", "source", "reason", "domain")}
    found["q"] = "".join(character for character in found["q"] if character.isprintable() or character.isspace())
    found["domain"] = found["domain"].lower()
    if len(found["q"]) > LONGEST_TEXT:
        raise BadSearch(f"A search has {LONGEST_TEXT} characters at most.")
    if (found["where"] or "all") not in WHERE:
        raise BadSearch(f"There is no place {found['where']!r}.")
    for name, pattern, what in (("domain", DOMAIN, "domain"), ("reason", REASON, "reason")):
        if found[name] and not pattern.fullmatch(found[name]):
            raise BadSearch(f"{found[name]!r} is no {what}.")
    low, high = (_number(given.get(name, ""), name) for name in ("low", "high"))
    return Search(**{**found, "where": found["where"] or "all"}, low=low, high=high)


def _number(text: str, name: str) -> float | None:
    if not text.strip():
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadSearch(f"{text!r} is no number for the {'lowest' if name == 'low' else 'highest'} score.")
    return number
