"""What tests of all packages share: fixtures, tiers by fixture, and what is said of tests that are skipped."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support.browser import chromium
from tests.support.optional import Report, must_not_skip, reason_of
from tests.support.runs import finished, merge, merged, site

if "PYTEST_XDIST_WORKER" in os.environ:  # workers with several threads each wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

__all__ = ["chromium", "finished", "merge", "merged", "one_thread", "site"]

TIERS = {"chromium": "browser", "site": "e2e", "merge": "e2e", "unlucky": "serial"}
"""Fixture → marker of every test that uses it, directly or through others."""

TESTS = Path(__file__).parent
SLOW_FILES = {
    "benchmarks/test_big_run.py",
    "dags/test_dags_graph.py",
    "docs/test_tutorial.py",
    "foundation/test_errors.py",
    "package/test_imports.py",
    "package/test_wheel.py",
    "pipeline/inspect/catalog/test_catalog.py",
    "pipeline/sources/test_registry.py",
    "pipeline/stages/dedup_images/test_images_compared.py",
    "pipeline/stages/score/test_loading.py",
    "pipeline/stages/translate/test_translate.py",
    "trainer/test_ablate.py",
    "trainer/test_agreement.py",
    "trainer/test_gradcache.py",
    "trainer/test_loss.py",
    "trainer/test_train.py",
    "zhclip/test_api.py",
}
"""Files with a test or a set-up of more than 7 s (`pytest --durations=60`): not in `make check`."""


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
        if item.path.is_relative_to(TESTS) and item.path.relative_to(TESTS).as_posix() in SLOW_FILES:
            item.add_marker("slow")


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
