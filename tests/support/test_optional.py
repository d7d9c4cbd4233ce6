"""What a run of the tests says of skips, and that CI allows none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.slow

SKIPS = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_of_airflow(number):
    pytest.skip("run `make airflow`")

def test_of_the_kernel():
    pytest.skip("this machine has no Landlock")

@pytest.mark.xfail(reason="not built yet")
def test_that_is_expected_to_fail():
    assert False
"""
MODULE = "import pytest\npytest.importorskip('no_such_package', reason='run `make`')\n"


def run_tests(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """pytest with the hooks of tests/conftest.py on the two modules above."""
    (folder / "test_skips.py").write_text(SKIPS, encoding="utf-8")
    (folder / "test_module.py").write_text(MODULE, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    settings = {name: text for name, text in os.environ.items() if name != "CI" and not name.startswith("PYTEST")}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "--continue-on-collection-errors",
        str(folder),
    ]
    return subprocess.run(
        command, cwd=REPOSITORY, env={**settings, **environment}, capture_output=True, text=True, check=False
    )


def test_skips_are_counted_with_how_to_have_them(tmp_path: Path) -> None:
    done = run_tests(tmp_path)
    assert done.returncode == pytest.ExitCode.OK, done.stdout
    assert "skipped: 3 of test_skips.py: run `make airflow`" in done.stdout
    assert "skipped: 1 of test_module.py: run `make`" in done.stdout


def test_in_ci_only_what_no_package_brings_may_skip(tmp_path: Path) -> None:
    done = run_tests(tmp_path, CI="true")
    assert done.returncode != pytest.ExitCode.OK
    assert "in CI nothing may be skipped: run `make airflow`" in done.stdout
    assert "in CI nothing may be skipped: run `make`" in done.stdout
    assert "nothing may be skipped: this machine" not in done.stdout
