"""Which bindings of a refused name the check sees, and which uses of the word it leaves alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY


def check(path: Path) -> subprocess.CompletedProcess[str]:
    script = REPOSITORY / "tools" / "check_names.py"
    return subprocess.run([sys.executable, script, "--paths", path], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "code",
    [
        "found = 1",
        "found: int = 1",
        "a, (b, *found) = x",
        "if found := f(): pass",
        "def f(found): pass",
        "def f(a, *, found=None): pass",
        "f = lambda found: 1",
        "for a, found in x: pass",
        "y = [found for found in x]",
        "with f() as found: pass",
        "try: pass\nexcept ValueError as found: pass",
        "import re as found",
        "match x:\n    case [found]: pass",
        "class A:\n    found: int",
        "class found: pass",
        "def found(): pass",
        "async def found(): pass",
    ],
)
def test_a_refused_name_is_seen_wherever_it_is_bound(code: str, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(code)
    answer = check(tmp_path)
    assert answer.returncode == 1 and "module.py:" in answer.stdout and "`found`" in answer.stdout


@pytest.mark.parametrize("name", ["one", "whole", "mine", "theirs", "place", "some", "few"])
def test_other_words_that_are_no_nouns_are_refused_too(name: str, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(f"{name} = 1")
    assert f"`{name}`" in check(tmp_path).stdout


def test_words_in_text_attributes_and_other_names_are_free(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("x.found = f(one=1, text='found')\nfound_at = 1\n")
    assert check(tmp_path).returncode == 0


def test_the_whole_repository_keeps_to_it() -> None:
    script = REPOSITORY / "tools" / "check_names.py"
    answer = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout) == (0, "")


def test_a_path_that_is_missing_is_told(tmp_path: Path) -> None:
    answer = check(tmp_path / "nowhere")
    assert answer.returncode != 0 and "no such file" in answer.stderr
