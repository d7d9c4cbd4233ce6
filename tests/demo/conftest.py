"""One small world for all tests of the demo, and its server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.server import serving
from demo.world import World, build_world
from tests.support.cache import unused_port
from tests.support.paths import REPOSITORY


@pytest.fixture(scope="session")
def base_url() -> str:
    """A loopback address that is free when the tests begin."""
    return f"http://127.0.0.1:{unused_port()}"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, base_url: str) -> World:
    """A world of size "test"."""
    return build_world(tmp_path_factory.mktemp("world"), base_url, size="test")


@pytest.fixture(scope="session")
def web(world: World) -> Iterator[str]:
    """The base url of the running server."""
    with serving(world.web, int(world.base_url.rpartition(":")[2])) as address:
        yield address


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """The scorer that ships with the demo."""
    return REPOSITORY / "demo" / "mclip-tiny"
