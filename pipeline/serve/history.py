"""The history of a pair in words, stage by stage, in the order of the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.inspect.funnel import FIRST
from pipeline.inspect.readable import size
from pipeline.run.outcomes import WAITING, Outcome
from pipeline.serve.pair import Pair
from pipeline.serve.segments import PUBLISHED, RULES
from pipeline.stages.base import Stage
from pipeline.stages.registry import STAGES, outcome_of


@dataclass(frozen=True)
class Event:
    """What one stage did with the pair."""

    title: str
    state: str  # done, dropped, waiting
    text: str = ""
    reasons: list[str] = field(default_factory=list)
    detail: str = ""


def history(pair: Pair, stages: Iterable[Stage]) -> list[Event]:
    """The events of a run's stages in order, up to the one that dropped the pair."""
    events: list[Event] = []
    for event in _events(pair, stages):
        events.append(event)
        if event.state == "dropped":
            break
    return events


def outcome_of_pair(pair: Pair) -> Outcome:
    """What became of a pair, as the list and its page show it."""
    losses = _losses(pair)
    if pair.published:
        return outcome_of(PUBLISHED.stage)
    return outcome_of(losses[-1]["stage"], losses[-1]["outcome"]) if losses else WAITING


def met_again(pair: Pair) -> list[dict[str, Any]]:
    """Ledger entries of further rows with the same url and caption as this pair, which is itself planned."""
    return [entry for entry in pair.entries if entry["stage"] == RULES.stage] if pair.plan else []


def _losses(pair: Pair) -> list[dict[str, Any]]:
    """The ledger entries of the pair itself."""
    again = met_again(pair)
    return [entry for entry in pair.entries if entry not in again]


def _events(pair: Pair, stages: Iterable[Stage]) -> Iterator[Event]:
    """One for each stage that decides on rows: what it did, or that it has still to do it."""
    losses = {entry["stage"]: entry for entry in _losses(pair)}
    flow = list(STAGES)
    last = max(map(flow.index, {FIRST, *pair.rows, *pair.passed, *losses}))
    for stage in stages:
        title = stage.label.capitalize()
        if not stage.outcomes:
            continue
        if entry := losses.get(stage.name):
            became = f"{outcome_of(stage.name, entry['outcome']).label.capitalize()}."
            yield Event(title, "dropped", became, entry["reasons"], entry["detail"] or "")
        elif text := TEXTS.get(stage.name, _nothing)(pair):
            yield Event(title, "done", text)
        elif flow.index(stage.name) <= last:
            yield Event(title, "done", "Handed on.")
        else:
            yield Event(title, "waiting", f"{WAITING.label.capitalize()}.")


def _nothing(_: Pair) -> str:
    return ""


def _read(pair: Pair) -> str:
    return f"Row {pair.text['row']:,} of {pair.text['file']}, source {pair.text['source']}."


def _filtered(pair: Pair) -> str:
    return f"Kept by all rules; planned in shard {pair.plan['shard']}." if pair.plan else ""


def _downloaded(pair: Pair) -> str:
    row = pair.rows.get("download")
    if not row or row["status"] != "ok":
        return ""
    stored = f"Stored with {_pixels(row, '')}, {size(row['length'])}"
    original = f"{_pixels(row, 'original_')}, {size(row['original_bytes'])}"
    kind = f", {row['content_type']}" if row["content_type"] else ""
    return f"{stored}; as it was fetched: {original}{kind}."


def _scored(pair: Pair) -> str:
    if not pair.score:
        return ""
    score, decision = f"{pair.score['score']:.4f}", pair.rows.get("select")
    if decision is None:
        return f"{score}."
    limit = decision["min_score"]
    return f"{score}; its source has no threshold." if limit is None else f"{score}; threshold {limit:.4g}."


def _selected(pair: Pair) -> str:
    decision = pair.rows.get("select")
    return "Kept." if decision and decision["keep"] else ""


def _published(pair: Pair) -> str:
    row = pair.published
    if not row:
        return ""
    last = row["offset"] + row["length"] - 1
    return f"Image in {row['folder']}/{row['tar']}, bytes {row['offset']:,} to {last:,}."


def _pixels(row: dict[str, Any], prefix: str) -> str:
    width, height = row[f"{prefix}width"], row[f"{prefix}height"]
    return f"{width} × {height} pixels" if width else "unknown size"


TEXTS: Mapping[str, Callable[[Pair], str]] = {
    "read": _read,
    "filter": _filtered,
    "download": _downloaded,
    "score": _scored,
    "select": _selected,
    "publish": _published,
}
"""What a stage did with a pair that it handed on; empty where its files do not say. A stage that is not here hands on."""
