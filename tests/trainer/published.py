"""Moved to tests.support.published."""

from tests.support.published import *  # noqa: F403
