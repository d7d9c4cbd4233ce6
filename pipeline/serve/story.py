"""What happened to a pair, stage by stage, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.inspect.readable import size
from pipeline.serve.pair import Pair


@dataclass(frozen=True)
class Chapter:
    """One stage of it."""

    title: str
    state: str  # done, dropped, waiting
    text: str = ""
    reasons: list[str] = field(default_factory=list)
    detail: str = ""


def story(pair: Pair) -> list[Chapter]:
    """All stages in their order; those that a dropped pair never came to are left out."""
    chapters: list[Chapter] = []
    for chapter in _chapters(pair):
        chapters.append(chapter)
        if chapter.state == "dropped":
            break
    return chapters


def state_of(pair: Pair) -> str:
    """published, kept, rejected, failed or waiting, as the list says it."""
    lost = [entry for entry in pair.entries if entry["stage"] != "filter" or not pair.plan]
    if pair.published:
        return "published"
    if lost:
        return str(lost[-1]["outcome"])
    return "kept" if pair.decision and pair.decision["keep"] else "waiting"


def met_again(pair: Pair) -> list[dict[str, Any]]:
    """Ledger entries of further rows that say the very same as this pair, which is itself planned."""
    return [entry for entry in pair.entries if entry["stage"] == "filter"] if pair.plan else []


def _chapters(pair: Pair) -> Iterator[Chapter]:
    yield Chapter("Metadata", "done", f"Row {pair.text['row']:,} of {pair.text['file']}, source {pair.text['source']}.")
    if pair.plan:
        yield Chapter("Rules", "done", f"Kept by all rules; planned in shard {pair.plan['shard']}.")
    else:
        yield _dropped("Rules", pair, "filter")
    yield _downloaded(pair)
    yield _scored(pair)
    yield _selected(pair)
    yield _published(pair)


def _downloaded(pair: Pair) -> Chapter:
    found = pair.download
    if found and found["status"] == "ok":
        stored = f"Stored with {_pixels(found, '')}, {size(found['length'])}"
        original = f"{_pixels(found, 'original_')}, {size(found['original_bytes'])}"
        kind = f", {found['content_type']}" if found["content_type"] else ""
        return Chapter("Image", "done", f"{stored}; as it was fetched: {original}{kind}.")
    return _dropped("Image", pair, "download")


def _scored(pair: Pair) -> Chapter:
    if not pair.score:
        return _dropped("Score", pair, "score")
    limit = pair.decision["min_score"] if pair.decision else None
    against = (
        ""
        if pair.decision is None
        else "; its source has no threshold"
        if limit is None
        else f"; threshold {limit:.4g}"
    )
    return Chapter("Score", "done", f"{pair.score['score']:.4f}{against}.")


def _selected(pair: Pair) -> Chapter:
    if pair.decision and pair.decision["keep"]:
        return Chapter("Selection", "done", "Kept.")
    return _dropped("Selection", pair, "select")


def _published(pair: Pair) -> Chapter:
    found = pair.published
    if not found:
        return Chapter("Publication", "waiting", "Not published yet.")
    last = found["offset"] + found["length"] - 1
    return Chapter("Publication", "done", f"Image in dataset/{found['tar']}, bytes {found['offset']:,} to {last:,}.")


def _dropped(title: str, pair: Pair, stage: str) -> Chapter:
    """What the ledger says of a stage; nothing yet, where it has no entry."""
    for entry in pair.entries:
        if entry["stage"] == stage:
            verb = "Failed." if entry["outcome"] == "failed" else "Dropped here."
            return Chapter(title, "dropped", verb, entry["reasons"], entry["detail"] or "")
    return Chapter(title, "waiting", "Not yet.")


def _pixels(row: dict[str, Any], prefix: str) -> str:
    width, height = row[f"{prefix}width"], row[f"{prefix}height"]
    return f"{width} × {height} pixels" if width else "unknown size"
