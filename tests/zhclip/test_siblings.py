"""Another package under the name of one of zhclip's is named before anything of it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY


@pytest.mark.parametrize("name", ["foundation", "filters", "pipeline", "trainer"])
def test_another_package_of_that_name_earlier_on_the_path_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise RuntimeError('it was imported')\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"}
    done = subprocess.run(
        [sys.executable, "-m", "zhclip", "--version"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert f"the package `{name}` in {tmp_path / name} is not zhclip's" in done.stderr
    assert "Traceback" not in done.stderr
