"""The history of a pair in words, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.inspect.readable import size
from pipeline.serve.pair import Pair


@dataclass(frozen=True)
class Event:
    """What one stage did with the pair."""

    title: str
    state: str  # done, dropped, waiting
    text: str = ""
    reasons: list[str] = field(default_factory=list)
    detail: str = ""


def history(pair: Pair) -> list[Event]:
    """The events of all stages in order, up to the one that dropped the pair."""
    events: list[Event] = []
    for event in _events(pair):
        events.append(event)
        if event.state == "dropped":
            break
    return events


def state_of(pair: Pair) -> str:
    """The state of a pair as the list shows it: published, kept, rejected, failed or waiting."""
    lost = [entry for entry in pair.entries if entry["stage"] != "filter" or not pair.plan]
    if pair.published:
        return "published"
    if lost:
        return str(lost[-1]["outcome"])
    return "kept" if pair.decision and pair.decision["keep"] else "waiting"


def met_again(pair: Pair) -> list[dict[str, Any]]:
    """Ledger entries of further rows with the same url and caption as this pair, which is itself planned."""
    return [entry for entry in pair.entries if entry["stage"] == "filter"] if pair.plan else []


def _events(pair: Pair) -> Iterator[Event]:
    yield Event("Metadata", "done", f"Row {pair.text['row']:,} of {pair.text['file']}, source {pair.text['source']}.")
    if pair.plan:
        yield Event("Rules", "done", f"Kept by all rules; planned in shard {pair.plan['shard']}.")
    else:
        yield _dropped("Rules", pair, "filter")
    yield _downloaded(pair)
    yield _scored(pair)
    yield _selected(pair)
    yield _published(pair)


def _downloaded(pair: Pair) -> Event:
    row = pair.download
    if row and row["status"] == "ok":
        stored = f"Stored with {_pixels(row, '')}, {size(row['length'])}"
        original = f"{_pixels(row, 'original_')}, {size(row['original_bytes'])}"
        kind = f", {row['content_type']}" if row["content_type"] else ""
        return Event("Image", "done", f"{stored}; as it was fetched: {original}{kind}.")
    return _dropped("Image", pair, "download")


def _scored(pair: Pair) -> Event:
    if not pair.score:
        return _dropped("Score", pair, "score")
    limit = pair.decision["min_score"] if pair.decision else None
    threshold = (
        ""
        if pair.decision is None
        else "; its source has no threshold"
        if limit is None
        else f"; threshold {limit:.4g}"
    )
    return Event("Score", "done", f"{pair.score['score']:.4f}{threshold}.")


def _selected(pair: Pair) -> Event:
    if pair.decision and pair.decision["keep"]:
        return Event("Selection", "done", "Kept.")
    return _dropped("Selection", pair, "select")


def _published(pair: Pair) -> Event:
    row = pair.published
    if not row:
        return Event("Publication", "waiting", "Not published yet.")
    last = row["offset"] + row["length"] - 1
    return Event("Publication", "done", f"Image in dataset/{row['tar']}, bytes {row['offset']:,} to {last:,}.")


def _dropped(title: str, pair: Pair, stage: str) -> Event:
    """The event of the stage's ledger entry, or a waiting one where it has none."""
    for entry in pair.entries:
        if entry["stage"] == stage:
            verb = "Failed." if entry["outcome"] == "failed" else "Dropped here."
            return Event(title, "dropped", verb, entry["reasons"], entry["detail"] or "")
    return Event(title, "waiting", "Not yet.")


def _pixels(row: dict[str, Any], prefix: str) -> str:
    width, height = row[f"{prefix}width"], row[f"{prefix}height"]
    return f"{width} × {height} pixels" if width else "unknown size"
