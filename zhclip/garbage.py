"""The command `gc`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from foundation.text import counted
from zhclip.console import print_json
from zhclip.words import RunFolder, RunOption, named_run

if TYPE_CHECKING:
    from pipeline.runners.housekeeping import Garbage

LISTED = 20  # names that are printed


def add_command(app: typer.Typer) -> None:
    """Add the command to a command line."""
    app.command("gc")(gc_command)


def gc_command(
    run: RunFolder = None,
    run_option: RunOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, with all names.")] = False,
) -> None:
    """Remove what killed processes left in a run: files that no manifest names. `curate` does the same at each start.

    What a manifest names and the run still needs, but is gone, is made again by the next `curate`. Refused while another process
    works on the run; with --dry-run, files that it is about to commit are in the list.

    zhclip gc runs/first --dry-run
    zhclip gc s3://bucket/runs/first
    """
    from pipeline import collect_garbage

    folder = named_run(run, run_option, "zhclip gc RUN")
    garbage = collect_garbage(folder, dry_run=dry_run)
    if as_json:
        print_json(
            {
                "run": folder,
                "removed": not dry_run,
                "files": garbage.names,
                "bytes": garbage.bytes,
                "again": garbage.again,
            }
        )
    else:
        _print(garbage, dry_run, Console())


def _print(garbage: Garbage, dry_run: bool, console: Console) -> None:
    for name in garbage.names[:LISTED]:
        console.print(f"  {name}", markup=False, highlight=False)
    if len(garbage.names) > LISTED:
        console.print(f"  and {len(garbage.names) - LISTED:,} more (--json has all)", highlight=False)
    verb = "would go" if dry_run else "removed"
    console.print(f"{counted(len(garbage.names), 'file')} {verb}, {garbage.bytes:,} bytes", highlight=False)
    for stage, shards in garbage.again.items():
        console.print(
            f"{counted(len(shards), 'shard')} of the {stage} stage: `zhclip curate` makes them again", highlight=False
        )
