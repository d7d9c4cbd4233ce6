"""Moved to tests.support.paths."""

from tests.support.paths import *  # noqa: F403
