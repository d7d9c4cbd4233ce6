"""The command `zhclip report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from foundation.console import announce, fail, messages
from foundation.errors import EXIT_INVALID
from zhclip.words import RunFolder, RunOption, named_run


def add_command(app: typer.Typer) -> None:
    """Add `report` to a command line."""
    app.command("report")(report_command)


def report_command(
    run: RunFolder = None,
    run_option: RunOption = None,
    against: Annotated[str | None, typer.Option(metavar="RUN", help="A second run to compare with.")] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write; default: RUN/report.html.")] = None,
    seed: Annotated[int, typer.Option(help="Seed for choosing the samples and the pairs in the galleries.")] = 0,
    cards: Annotated[int, typer.Option(help="Number of pairs in each gallery.", min=1, max=60)] = 8,
    price: Annotated[
        list[str] | None, typer.Option(help="STAGE=PRICE of a worker-hour (repeatable), to show what the run cost.")
    ] = None,
    memory: Annotated[str, typer.Option(help="DuckDB memory limit; what does not fit goes to disk.")] = "4GiB",
) -> None:
    """Write an HTML report of a run with figures, charts and galleries: one file that needs no network.

    zhclip report runs/first
    zhclip report runs/october --against runs/september --out october.html
    zhclip report runs/first --price download=0.4 --price score=2.1
    """
    from foundation.extras import need

    need("report", "zhclip report")
    from pipeline.inspect.report.write import write_report
    from pipeline.run.names import REPORT

    folder = named_run(run, run_option, "zhclip report RUN")
    path = out or f"{folder.rstrip('/')}/{REPORT}"
    with messages().status("counting, drawing, choosing pictures …"):
        written = write_report(folder, out, against, seed, cards, _prices(price or []), memory)
    text = f"{path}  ({written / 2**20:.1f} MiB)"
    announce("report", f"done {text}", f"[green]done[/] {escape(text)}", path=str(path), bytes=written)


def _prices(given: list[str]) -> dict[str, float]:
    from pipeline import COMMANDS

    prices = {}
    for option in given:
        stage, _, price = option.partition("=")
        try:
            prices[stage] = float(price)
        except ValueError:
            fail(f"--price {option}: expected STAGE=PRICE, such as download=0.4", EXIT_INVALID)
        if stage not in COMMANDS:
            fail(f"--price {option}: {stage!r} is no stage; stages are {', '.join(COMMANDS)}", EXIT_INVALID)
    return prices
