"""The commands that inspect a run: `status`, `verify` and `calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from foundation.console import announce, messages
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


def verify_command(
    run: RunFolder = None,
    run_option: RunOption = None,
    root: Annotated[
        str | None,
        typer.Option(
            metavar="HASH", help="The root that the run should have, as `zhclip curate` printed it.", show_default=False
        ),
    ] = None,
    sample: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE|N",
            help="Read the tars of this share (below 1) or number of shards alone; everything else is checked in full.",
            min=0,
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed for choosing the sample.")] = 0,
    as_json: Json = False,
) -> None:
    """Recompute every hash, key and count of a run, follow its pairs from the plan to the dataset, and name what is wrong.

    Exit code 0: the run is complete and everything holds; 1: there are problems; 3: what is there holds, and the run is not
    complete. The root is one hash of everything that made the run.

    zhclip verify runs/first
    zhclip verify runs/first --sample 0.01
    """
    from pipeline import verify

    folder = named_run(run, run_option, "zhclip verify RUN")
    report = verify(folder, messages(as_json), sample=sample, seed=seed, root=root)
    if as_json:
        print_json(report.to_json())
    else:
        report.print(Console())
    raise typer.Exit(report.exit_code)


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
