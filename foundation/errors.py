"""Errors that a person can act on: printed as their message, without a traceback, and the exit code of each kind.

Anything else that is raised is a fault of the program, keeps its traceback and exits 1.
"""

from __future__ import annotations

EXIT_FAILED = 1
EXIT_INVALID = 2
EXIT_INCOMPLETE = 3  # of `zhclip verify`: nothing is wrong, and the run is not complete
EXIT_INTERRUPTED = 130


class ZhclipError(Exception):
    """Base of all errors whose message says everything a person needs: what, where, and what to do."""

    exit_code: int = EXIT_FAILED


class InvalidInput(ZhclipError):
    """A recipe, a path, a file or an option that cannot be used."""

    exit_code = EXIT_INVALID


class WorkFailed(ZhclipError):
    """Work that could not be done, or a check that did not pass."""
