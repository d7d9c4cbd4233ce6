"""What all commands of `zhclip` share: where options of the log may stand, and printing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from typer.core import TyperGroup

from foundation.console import errors_as_messages, print_error
from foundation.errors import EXIT_INTERRUPTED
from foundation.log import configure

LOG_OPTIONS = ("--log-format", "--log-level")


class CommandGroup(TyperGroup):
    """All commands: an error that a person can act on is a message, and options of the log may follow a command too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options that stand before the command; what is wrong with them is logged as the environment says."""
        with errors_as_messages():
            configure()
            return super().parse_args(ctx, log_options_first(args))

    def invoke(self, ctx: Any) -> Any:
        """Configure the log, then run the command that the words name."""
        with errors_as_messages():
            configure(ctx.params.get("log_format"), ctx.params.get("log_level"))
            return super().invoke(ctx)


def log_options_first(words: Sequence[str]) -> list[str]:
    """The words of a command line, the options of the log in front; what follows `--` is Beam's and stays."""
    end = words.index("--") if "--" in words else len(words)
    front: list[str] = []
    others: list[str] = []
    before_end = iter(words[:end])
    for word in before_end:
        if word in LOG_OPTIONS:
            front += [word, *islice(before_end, 1)]
        else:
            (front if word.startswith(tuple(f"{option}=" for option in LOG_OPTIONS)) else others).append(word)
    return [*front, *others, *words[end:]]


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
