from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.loopback import Web


@pytest.fixture
def web() -> Iterator[Web]:
    """A server of the test's own."""
    server = Web()
    yield server
    server.close()
