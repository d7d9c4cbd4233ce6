"""What became of the rows of one split as it is read: counts, and ledger entries of the rows that made no pair."""

from __future__ import annotations

from typing import Any

from pipeline.run.ledger import block_entry
from pipeline.run.outcomes import FAILED, OUT_OF_SCOPE
from pipeline.sources.splits import Split, Unreadable


class Tally:
    """Counts of one split as it is read, and the ledger entries of what has no pair."""

    def __init__(self, split: Split) -> None:
        self.split = split
        self.ledger: list[dict[str, Any]] = []
        self.counts = {"in": 0, "out_of_scope": 0, "failed": 0, "out": 0, "unknown": 0}

    def unreadable(self, block: Unreadable) -> None:
        """Rows that could not be read; where nobody can tell how many, the block counts as `unknown`."""
        rows = block.rows or 0
        self.counts["in"] += rows
        self.counts["failed"] += rows
        self.counts["unknown"] += block.rows is None
        self._enter(block.first_row, rows, FAILED, block.reason, block.detail)

    def block(self, rows: int, first_row: int, outside: int) -> None:
        """Rows that were read, `outside` of them in languages that the source does not ask for."""
        self.counts["in"] += rows
        self.counts["out_of_scope"] += outside
        self.counts["out"] += rows - outside
        if outside:
            self._enter(first_row, outside, OUT_OF_SCOPE, "language")

    def _enter(self, first_row: int, rows: int, *outcome: str) -> None:
        self.ledger.append(block_entry(self.split.source, self.split.file, first_row, rows, *outcome))
