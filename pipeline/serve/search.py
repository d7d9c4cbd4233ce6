"""A search among the pairs of a run, read from a request and validated."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from urllib.parse import urlencode

from foundation.errors import InvalidInput
from pipeline.inspect.funnel import FIRST
from pipeline.run.outcomes import WAITING
from pipeline.stages.registry import OUTCOMES, PUBLISHED

WHERE = {
    "all": "all pairs",
    PUBLISHED.key: PUBLISHED.label,
    "dropped": "dropped",
    **{
        key: outcome.label
        for key, (stage, outcome) in OUTCOMES.items()
        if outcome.ledger and stage != FIRST  # rows there are no pairs
    },
    WAITING.key: WAITING.label,
}
"""Which pairs the list shows: key in addresses → label on the page."""
MAX_TEXT = 200
MAX_WORDS = 6
DOMAIN = re.compile(r"[\w.-]{1,253}|\[[0-9a-f:.]+\]")
REASON = re.compile(r"\w{1,100}")
KEY = re.compile(r"[0-9a-f]{32}")


class BadSearch(InvalidInput, ValueError):
    """A search with a value that is not allowed; the message says which."""


@dataclass(frozen=True)
class Search:
    """Conditions on a pair. Empty strings and None set no condition."""

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
        return self.q.split()[:MAX_WORDS]

    @property
    def waiting(self) -> bool:
        """Whether it is for pairs that no stage has decided on."""
        return self.where == WAITING.key

    @property
    def narrow(self) -> bool:
        """Whether it has a condition besides the outcome."""
        return self != Search(where=self.where)

    @property
    def query(self) -> str:
        """The query string of its address."""
        return urlencode(self._given())

    def but(self, **changes: str) -> str:
        """The query string of this search with changed values."""
        return replace(self, **changes).query  # type: ignore[arg-type]

    def _given(self) -> dict[str, str]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: f"{value:g}" if isinstance(value, float) else value
                for name, value in values.items()
                if value not in ("", None) and (name, value) != ("where", "all")}  # fmt: skip


def read_search(given: Mapping[str, str]) -> Search:
    """Read the search of a request.

    Raises:
        BadSearch: a value is not allowed.
    """
    texts = {name: given.get(name, "").strip() for name in ("q", "where", "source", "reason", "domain")}
    texts["q"] = "".join(character for character in texts["q"] if character.isprintable() or character.isspace())
    texts["domain"] = texts["domain"].lower()
    if len(texts["q"]) > MAX_TEXT:
        raise BadSearch(f"A search has at most {MAX_TEXT} characters.")
    if (texts["where"] or "all") not in WHERE:
        raise BadSearch(f"There is no place {texts['where']!r}.")
    for name, pattern, what in (("domain", DOMAIN, "domain"), ("reason", REASON, "reason")):
        if texts[name] and not pattern.fullmatch(texts[name]):
            raise BadSearch(f"{texts[name]!r} is no {what}.")
    low, high = (_number(given.get(name, ""), name) for name in ("low", "high"))
    return Search(**{**texts, "where": texts["where"] or "all"}, low=low, high=high)


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
