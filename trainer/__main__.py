"""`torchrun --nproc-per-node 8 -m trainer vit-b-16 --data … --out …`."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

from foundation.console import errors_as_messages
from foundation.log import configure
from trainer.cli import train


class TrainCommand(TyperCommand):
    """`train` alone, whose errors are messages as those of `zhclip` are."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words; the environment says how errors are logged."""
        with errors_as_messages():
            configure()
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run it."""
        with errors_as_messages():
            return super().invoke(ctx)


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command(cls=TrainCommand)(train)
    app()
