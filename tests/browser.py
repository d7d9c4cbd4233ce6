"""Moved to tests.support.browser."""

from tests.support.browser import *  # noqa: F403
