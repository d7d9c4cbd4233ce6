"""What commands say on stderr: to people, or as lines of the log where that is JSON. Errors and their exit codes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from foundation.errors import EXIT_INTERRUPTED, EXIT_INVALID, ZhclipError
from foundation.log import logger, logs_json

# A wrong word on the command line; of its classes typer names this one alone, whichever version of click it works with.
UsageError: Any = typer.BadParameter.__base__


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """The one place where an error that a person can act on becomes a message and an exit code.

    Raises:
        typer.Exit: instead of the error.
    """
    try:
        yield
    except ZhclipError as error:
        fail(str(error), error.exit_code)
    except (PermissionError, NotADirectoryError) as error:
        if error.filename is None:
            raise
        fail(f"{error.filename}: {error.strerror}", EXIT_INVALID)
    except UsageError as error:
        if not logs_json():
            raise  # typer frames it, below the command's usage
        fail(error.format_message(), error.exit_code)
    except KeyboardInterrupt:
        fail("stopped", EXIT_INTERRUPTED)


def fail(message: str, code: int) -> NoReturn:
    """Print the message on stderr and raise typer.Exit."""
    print_error(message)
    raise typer.Exit(code)


def print_error(message: str) -> None:
    """Print the message on stderr, after what was printed on stdout so far."""
    sys.stdout.flush()
    if logs_json():
        logger("command").error(message)
        return
    Console(stderr=True).print(f"[bold red]zhclip:[/] {escape(message)}", highlight=False, soft_wrap=True)


def messages(quiet: bool = False) -> Console:
    """Where progress and notes for people go: stderr; nowhere where the log on stderr is JSON, which machines read."""
    return Console(stderr=True, quiet=quiet or logs_json())


def announce(package: str, text: str, shown: str | None = None, **fields: Any) -> None:
    """Tell people on stderr; where the log is JSON, log it at level info, with its fields.

    Args:
        package: whose logger.
        shown: the text with markup, if it has any.
    """
    if logs_json():
        logger(package).info(text, extra={"fields": fields})
    else:
        messages().print(shown or escape(text), highlight=False, soft_wrap=True)
