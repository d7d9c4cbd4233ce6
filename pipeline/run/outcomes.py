"""What can become of a row of metadata: one vocabulary for manifests, status, catalog, report and web service.

A stage declares the outcomes that it decides (`Stage.outcomes`); `pipeline.stages.registry.OUTCOMES` has them all, in the order
of the flow.
"""

from __future__ import annotations

from dataclasses import dataclass

REJECTED = "rejected"  # by a rule, a threshold, or as a duplicate
FAILED = "failed"  # could not be read, fetched or decoded
OUT_OF_SCOPE = "out_of_scope"  # rows of other languages: counted, not listed one by one
LEDGER_OUTCOMES = (OUT_OF_SCOPE, FAILED, REJECTED)


@dataclass(frozen=True)
class Outcome:
    """One thing that can become of a row.

    The rows of an outcome are the ledger rows whose `stage` is the declaring stage and whose `outcome` is `ledger`; a stage's
    manifest counts them per source under that same name.
    """

    key: str  # name in JSON, in SQL and in addresses of the web service
    label: str  # for people, after a number of rows
    ledger: str | None = None  # value of the ledger's `outcome` column; None: its rows are in no ledger
    description: str = ""  # one sentence


WAITING = Outcome("waiting", "still to do", description="Rows that a later stage has yet to decide on.")
MISSING = Outcome(
    "waiting", "missing", description="Such rows in a complete run: they are lost, and `zhclip verify` says where."
)


def undecided(complete: bool) -> Outcome:
    """The outcome of rows that came out nowhere, in a run that is complete or not."""
    return MISSING if complete else WAITING
