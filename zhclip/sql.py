"""The command `zhclip sql`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from foundation.console import announce, fail
from foundation.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_INVALID
from foundation.text import counted
from zhclip.words import RunAddress, RunOption, named_run

LOG_WIDTH = 200  # columns where no terminal says how many it has


def add_command(app: typer.Typer) -> None:
    """Add `sql` to a command line."""
    app.command("sql")(sql_command)


def sql_command(
    run: RunAddress = None,
    query: Annotated[
        str | None, typer.Argument(help="SQL query; `-` reads it from standard input. Without one, a prompt opens.")
    ] = None,
    run_option: RunOption = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    parquet: Annotated[Path | None, typer.Option(help="Write the result to this Parquet file.")] = None,
    attach: Annotated[
        list[str] | None,
        typer.Option(help="NAME=RUN: add the views of another run as NAME.pairs and so on (repeatable)."),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="DuckDB threads; default: all cores.", min=1)] = None,
    memory: Annotated[
        str | None, typer.Option(help="DuckDB memory limit, such as 4GiB; default: 80% of the machine's.")
    ] = None,
) -> None:
    """Query a run's own files with SQL (DuckDB); nothing is copied. docs/sql.md has examples.

    zhclip sql runs/first                                                   # a prompt
    zhclip sql runs/first "select source, stage, rows_in, rows_out from funnel"
    zhclip sql s3://bucket/runs/first "select reason, count(*) from reasons group by all" --csv
    zhclip sql runs/october --attach before=runs/september "select count(*) from pairs join before.pairs using (key)"
    """
    if sum((as_csv, as_json, parquet is not None)) > 1:
        fail("--csv, --json and --parquet exclude each other", EXIT_INVALID)
    if run_option is not None and query is None:  # the only word is the query
        run, query = None, run
    run = named_run(run, run_option, "zhclip sql RUN QUERY")
    connection = _connect(run, attach or [], threads, memory)
    if query is None and sys.stdin.isatty() and sys.stdout.isatty():
        from pipeline.inspect.sql.prompt import run_prompt

        run_prompt(connection, run, Console())
        return
    text = sys.stdin.read() if query is None or query == "-" else query
    _answer(connection, text, as_csv, as_json, parquet)


def _connect(run: str, attached: list[str], threads: int | None, memory: str | None):  # type: ignore[no-untyped-def]
    from pipeline.inspect.catalog import attach, connect

    connection = connect(run, threads, memory)
    for option in attached:
        name, _, attached_run = option.partition("=")
        attach(connection, name, attached_run)
    return connection


def _answer(connection, query: str, as_csv: bool, as_json: bool, parquet: Path | None) -> None:  # type: ignore[no-untyped-def]
    import duckdb

    from pipeline.inspect.sql import output
    from pipeline.inspect.sql.interrupt import interruptible

    console = Console(width=None if sys.stdout.isatty() else LOG_WIDTH)

    def work() -> None:
        for answer, last in output.statements(connection, query):
            if answer is None:
                continue
            if not (as_csv or as_json or parquet):
                output.as_table(answer, console)
            elif last:
                _write(answer, as_csv, parquet)

    try:
        interruptible(connection, work)
    except duckdb.Error as error:
        fail(str(error), EXIT_FAILED)
    except BrokenPipeError:  # `| head`
        sys.stderr.close()
    except OSError as error:
        fail(str(error), EXIT_FAILED)
    except KeyboardInterrupt:
        fail("stopped", EXIT_INTERRUPTED)


def _write(answer, as_csv: bool, parquet: Path | None) -> None:  # type: ignore[no-untyped-def]
    from pipeline.inspect.sql import output

    if as_csv:
        output.as_csv(answer)
    elif parquet is None:
        output.as_json(answer)
    else:
        rows = output.as_parquet(answer, parquet)
        text = f"{parquet}  ({counted(rows, 'row')})"
        announce("sql", f"done {text}", f"[green]done[/] {escape(text)}", path=str(parquet), rows=rows)
