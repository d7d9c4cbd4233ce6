"""What all commands share: printing, errors and exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from foundation.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_INVALID, ZhclipError
from foundation.log import FORMAT_VARIABLE, logger

__all__ = [
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_INVALID",
    "CommandGroup",
    "fail",
    "messages",
    "print_error",
    "print_json",
]


class CommandGroup(TyperGroup):
    """The one place where an error that a person can act on becomes a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the words name."""
        try:
            return super().invoke(ctx)
        except ZhclipError as error:
            fail(str(error), error.exit_code)
        except (PermissionError, NotADirectoryError) as error:
            if error.filename is None:
                raise
            fail(f"{error.filename}: {error.strerror}", EXIT_INVALID)
        except KeyboardInterrupt:
            fail("stopped", EXIT_INTERRUPTED)


def fail(message: str, code: int) -> NoReturn:
    """Print the message on stderr and raise typer.Exit."""
    print_error(message)
    raise typer.Exit(code)


def print_error(message: str) -> None:
    """Print the message on stderr, after what was printed on stdout so far."""
    sys.stdout.flush()
    if _logs_json():
        logger("command").error(message)
        return
    Console(stderr=True).print(f"[bold red]zhclip:[/] {escape(message)}", highlight=False, soft_wrap=True)


def messages(quiet: bool = False) -> Console:
    """Where progress and notes for people go: stderr; nowhere where the log on stderr is JSON, which machines read."""
    return Console(stderr=True, quiet=quiet or _logs_json())


def _logs_json() -> bool:
    return os.environ.get(FORMAT_VARIABLE) == "json"


def print_json(content: Any) -> None:
    """Print one line of JSON on stdout."""
    print(json.dumps(content, ensure_ascii=False))


@contextmanager
def interruptible(message: str) -> Iterator[None]:
    """End the process at once on Ctrl-C: threads of a runner may be inside a model or waiting for a child, which dies too."""
    try:
        yield
    except KeyboardInterrupt:
        print_error(message)
        os._exit(EXIT_INTERRUPTED)
