"""Exit codes of the command line, and how a command ends that cannot go on."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from foundation.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_INVALID
from foundation.extras import MissingExtra, need

__all__ = ["EXIT_FAILED", "EXIT_INTERRUPTED", "EXIT_INVALID", "fail", "require", "tell"]


def fail(message: str, code: int) -> NoReturn:
    """Prints the message on stderr and raises typer.Exit."""
    tell(message)
    raise typer.Exit(code)


def require(extra: str, job: str) -> None:
    """Ends the command with one sentence where a package that the job needs is not installed."""
    try:
        need(extra, job)
    except MissingExtra as error:
        fail(str(error), error.exit_code)


def tell(message: str) -> None:
    """Prints the message on stderr, after what was printed on stdout so far."""
    sys.stdout.flush()
    Console(stderr=True).print(f"[bold red]zhclip:[/] {escape(message)}", highlight=False, soft_wrap=True)
