"""What tests of all packages share: fixtures, tiers by fixture, and what is said of tests that are skipped."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Iterator

import pytest

from tests.support.browser import chromium
from tests.support.optional import Report, must_not_skip, reason_of
from tests.support.runs import finished, merge, merged, site

if "PYTEST_XDIST_WORKER" in os.environ:  # workers with several threads each wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

__all__ = ["chromium", "finished", "merge", "merged", "one_thread", "site"]

TIERS = {"chromium": "browser", "site": "e2e", "merge": "e2e", "merged": "e2e"}
"""Fixture → marker of every test that uses it, directly or through others."""


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Several threads on matrices this small wait for one another, thirty times longer where the machine is busy."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture in TIERS.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(TIERS[fixture])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Report, Report]:
    report = yield
    return must_not_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Report, Report]:
    report = yield
    return must_not_skip(report)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each module and reason: what is not tested here, and how to have it."""
    counts: Counter[tuple[str, str]] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        counts[report.nodeid.split("::")[0], reason_of(report)] += 1
    for (module, reason), count in sorted(counts.items()):
        terminalreporter.write_line(f"skipped: {count} of {module}: {reason}", yellow=True)
