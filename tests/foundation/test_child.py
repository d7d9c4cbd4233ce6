"""What a child process is told of where packages lie."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

import pytest

from foundation import child
from tests.support.paths import REPOSITORY


def test_a_checkout_is_named_first() -> None:
    assert child.python_path("/somewhere", None).split(os.pathsep) == [str(REPOSITORY), "/somewhere"]


def test_site_packages_are_not_named_as_they_would_hide_the_standard_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "HOME", Path(sysconfig.get_path("purelib")).resolve())
    assert child.python_path() == ""
    assert child.python_path("/somewhere") == "/somewhere"
