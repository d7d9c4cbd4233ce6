"""Moved to tests.support.checkpoints."""

from tests.support.checkpoints import *  # noqa: F403
