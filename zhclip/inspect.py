"""The commands that inspect a run: `status`, `verify` and `calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from foundation.console import announce, messages
from foundation.errors import EXIT_FAILED
from zhclip.console import print_json
from zhclip.words import RunFolder, RunOption, named_run

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to a command line."""
    app.command("status")(status_command)
    app.command("verify")(verify_command)
    app.command("calibrate")(calibrate_command)


def status_command(run: RunFolder = None, run_option: RunOption = None, as_json: Json = False) -> None:
    """Show how far a run has got and what became of its rows."""
    from pipeline import read_run, status
    from pipeline.inspect.status import print_status

    opened = read_run(named_run(run, run_option, "zhclip status RUN"))
    if as_json:
        print_json(status(opened))
    else:
        print_status(opened, Console())


def verify_command(run: RunFolder = None, run_option: RunOption = None, as_json: Json = False) -> None:
    """Recompute every count and hash of a run and name each wrong shard and key. Exit code 1 if there is one."""
    from pipeline import verify

    report = verify(named_run(run, run_option, "zhclip verify RUN"), messages(as_json))
    if as_json:
        print_json({"checked": report.checked, "problems": report.problems})
    else:
        report.print(Console())
    raise typer.Exit(EXIT_FAILED if report.problems else 0)


def calibrate_command(
    run: RunFolder = None,
    run_option: RunOption = None,
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    keep: Annotated[float, typer.Option(help="Find the threshold that keeps this share of pairs.", min=0, max=1)] = 0.8,
    precision: Annotated[
        float, typer.Option(help="Find the threshold that reaches this precision.", min=0, max=1)
    ] = 0.95,
    mismatched: Annotated[
        float | None,
        typer.Option(help="Share of pairs with another image's caption; default: an estimate.", min=0, max=1),
    ] = None,
    sample: Annotated[int, typer.Option(help="Number of images scored again for each source.", min=2)] = 2000,
    seed: Annotated[int, typer.Option(help="Seed for choosing and shuffling the sample.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; default: RUN/calibration.")] = None,
    as_json: Json = False,
) -> None:
    """Show what thresholds mean for a run's scorer: the scores of its pairs beside those of shuffled pairs.

    Writes calibration.png, .json and .parquet.
    """
    from foundation.log import quiet_libraries

    quiet_libraries()
    from pipeline import calibrate, read_run
    from pipeline.inspect.calibrate import report

    opened = read_run(named_run(run, run_option, "zhclip calibrate RUN"))
    calibrations, folder = calibrate(
        opened,
        source=source,
        sample=sample,
        mismatched=mismatched,
        seed=seed,
        keep=keep,
        precision=precision,
        out=out,
    )
    if as_json:
        print_json(report.as_json(opened, calibrations, keep, precision))
    else:
        report.print_tables(calibrations, keep, precision, Console())
        path = f"{folder}/calibration.png"
        announce("calibrate", f"done {path}", f"[green]done[/] {escape(path)}", path=path)
