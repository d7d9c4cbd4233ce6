"""Moved to tests.support.runs."""

from tests.support.runs import *  # noqa: F403
