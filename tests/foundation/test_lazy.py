"""A library that stands by its name until it is used."""

from __future__ import annotations

import subprocess
import sys

import polars
import pytest

from foundation.lazy import polars as lazy_polars
from tests.support.paths import REPOSITORY


def test_what_a_lazy_library_gives_is_the_librarys_own() -> None:
    assert lazy_polars.Series is polars.Series
    assert lazy_polars.exceptions is polars.exceptions
    with pytest.raises(AttributeError, match="no attribute 'Sereis'"):
        lazy_polars.Sereis  # noqa: B018


def test_it_is_loaded_by_its_first_use_and_by_threads_only_once() -> None:
    code = """
import sys
from concurrent.futures import ThreadPoolExecutor
from foundation.lazy import polars
print("polars" in sys.modules)
with ThreadPoolExecutor(8) as pool:
    classes = set(pool.map(lambda _: polars.Series, range(8)))
print(classes == {sys.modules["polars"].Series})
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
