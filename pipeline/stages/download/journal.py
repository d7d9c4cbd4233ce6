"""What a child notes on disk about each row as it goes, so that its death loses nothing and tells which rows it had in hand."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

JOURNAL = "journal.jsonl"  # in the shard's folder
MACHINE_FAULT = 71  # status of a child that no row made end (sysexits.h: EX_OSERR)

Event = Literal["ready", "begun", "resizing", "answered"]


class Journal:
    """The child's side: a line for each event, handed to the system at once. Safe to use from many threads."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def note(self, event: Event, **facts: Any) -> None:
        """Append a line. Raises OSError."""
        line = json.dumps({"event": event, **facts}, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        if os.write(self._handle, line) < len(line):
            raise OSError(f"the disk took only a part of a line of {len(line)} bytes")

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


@dataclass
class Notes:
    """The parent's side: what a child has noted."""

    ready: bool = False  # whether it had everything but the rows: packages, settings, a writable folder
    answers: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # key → columns of OUTCOME_SCHEMA that have a value
    begun: dict[str, None] = field(default_factory=dict)  # keys, in order
    resizing: str | None = None  # key of the last row that the resizer got

    @property
    def in_hand(self) -> list[str]:
        """Keys of the rows that were begun and got no answer."""
        return [key for key in self.begun if key not in self.answers]

    @property
    def in_resizer(self) -> str | None:
        """Key of the row that was being resized and got no answer."""
        return None if self.resizing in self.answers else self.resizing


def read_notes(path: Path) -> Notes:
    """What lies in a journal; nothing where there is none. A line that a kill cut off counts as not written."""
    notes = Notes()
    if not path.exists():
        return notes
    for line in path.read_bytes().splitlines():
        try:
            note = json.loads(line)
        except ValueError:
            continue
        match note.pop("event"):
            case "ready":
                notes.ready = True
            case "begun":
                notes.begun[note["key"]] = None
            case "resizing":
                notes.resizing = note["key"]
            case "answered":
                notes.answers[note["key"]] = note
    return notes


@dataclass
class Answers:
    """What the children of a shard have come to, one after the other."""

    by_key: dict[str, dict[str, Any]] = field(default_factory=dict)  # columns of OUTCOME_SCHEMA that have a value
    end: str = ""  # how the last child ended, after "the process"
    machine_fault: bool = False  # whether it failed for a reason that no row has
    in_resizer: str | None = None  # key of the row with which it did
    _deaths: Counter[str] = field(default_factory=Counter)  # key → children that died with it in hand
    _named: set[str] = field(default_factory=set)  # keys of rows that were being resized at a death, or alone in hand

    def take(self, notes: Notes, status: int | None) -> None:
        """What a child noted, and the status with which it ended; None where it was killed because it hung."""
        self.by_key |= notes.answers
        self.end, self.in_resizer = _end(status), notes.in_resizer
        self.machine_fault = not notes.ready or status == MACHINE_FAULT
        if status != 0 and not self.machine_fault:
            self._deaths.update(notes.in_hand)
            self._named.update(notes.in_hand if len(notes.in_hand) == 1 else filter(None, [notes.in_resizer]))

    def left(self, keys: Sequence[str]) -> list[str]:
        """Those without an answer: rows under suspicion last, the strongest suspicion at the very end."""
        lacking = [key for key in keys if key not in self.by_key]
        return sorted(lacking, key=lambda key: (key in self._named, self._deaths[key]))

    def suspects(self, keys: Iterable[str]) -> list[str]:
        """Those that a child died with in hand."""
        return [key for key in keys if self._deaths[key]]

    def fail(self, keys: Iterable[str | None], reason: str, detail: str = "") -> None:
        """Give a reason to those of some rows that have no answer; without a detail, what is known of the deaths."""
        for key in keys:
            if key is not None and key not in self.by_key:
                text = detail or f"the process {self.end}; {self._deaths[key]} died with this row in hand"
                self.by_key[key] = {"key": key, "status": "failed", "reason": reason, "detail": text}


def _end(status: int | None) -> str:
    if status is None:
        return "hung and was killed"
    if status >= 0:
        return f"ended with status {status}"
    return f"was ended by {signal.Signals(-status).name}"
