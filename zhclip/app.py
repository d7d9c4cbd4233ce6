"""The command line: what all commands have in common, and where each is defined."""

from __future__ import annotations

from typing import Annotated

import typer

from foundation import __version__
from foundation.log import Format, Level
from trainer.cli import add_commands as add_trainer
from zhclip import curate, inspect, recipe
from zhclip.check import add_command as add_check
from zhclip.console import CommandGroup
from zhclip.garbage import add_command as add_garbage
from zhclip.reasons import add_command as add_reasons
from zhclip.report import add_command as add_report
from zhclip.serve import add_command as add_serve
from zhclip.sql import add_command as add_sql

app = typer.Typer(cls=CommandGroup, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"zhclip {__version__}")
        raise typer.Exit


@app.callback()
def about(  # CommandGroup reads the options
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
    log_format: Annotated[
        Format | None,
        typer.Option(
            help="Format of the log on stderr: text, or one JSON object per line and nothing else; may stand after a command "
            "as well. [default: text]"
        ),
    ] = None,
    log_level: Annotated[
        Level | None,
        typer.Option(
            help="Least severe level to log; info logs every item of a stage and the steps of a training. [default: warning]"
        ),
    ] = None,
) -> None:
    """Curate Chinese image-text pairs, and pretrain Chinese CLIP on them.

    [bold]zhclip recipe list[/]                              recipes included with zhclip
    [bold]zhclip curate builtin:chinese_clip runs/first[/]   all stages; can be interrupted
    [bold]zhclip status runs/first[/]                        progress, and what was rejected
    [bold]zhclip verify runs/first[/]                        is anything lost or damaged?
    """


curate.add_commands(app)
inspect.add_commands(app)
add_garbage(app)
add_reasons(app)
app.add_typer(recipe.app, name="recipe")
add_trainer(app)
add_check(app)
add_report(app)
add_serve(app)
add_sql(app)
