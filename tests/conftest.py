"""What tests of several packages share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.browser import chromium
from tests.runs import finished, merge, merged, site

__all__ = ["chromium", "finished", "merge", "merged", "one_thread", "site"]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Several threads on matrices this small wait for one another, thirty times longer where the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
