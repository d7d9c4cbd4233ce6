"""What a test needs and a machine may not have: elsewhere it skips and says how to have it, in CI it fails."""

from __future__ import annotations

import os
from typing import TypeVar

import pytest

MACHINE = "this machine has no "
"""How the reason of a skip begins that CI allows: what no package brings, such as a feature of the kernel."""

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def must_not_skip(report: Report) -> Report:
    """The report; where CI is set, a skip is a failure, unless its reason begins with MACHINE."""
    if not os.environ.get("CI") or not report.skipped or hasattr(report, "wasxfail"):
        return report
    if not reason_of(report).startswith(MACHINE):
        report.outcome, report.longrepr = "failed", f"in CI nothing may be skipped: {reason_of(report)}"
    return report


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why it was skipped."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")
