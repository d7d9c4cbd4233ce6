"""The command `zhclip check`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from foundation.console import fail
from foundation.errors import EXIT_FAILED
from zhclip.console import print_json
from zhclip.words import RunAddress, RunOption, named_run

LOG_WIDTH = 160  # columns where no terminal says how many it has


def add_command(app: typer.Typer) -> None:
    """Add `check` to a command line."""
    app.command("check")(check_command)


def check_command(
    run: RunAddress = None,
    run_option: RunOption = None,
    policy: Annotated[
        Path | None, typer.Option(help="Policy file (YAML); default: the policy that --example prints.")
    ] = None,
    against: Annotated[str | None, typer.Option(help="The previous run, for rules that compare two runs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    example: Annotated[bool, typer.Option("--example", help="Print an example policy and exit.")] = False,
    threads: Annotated[int | None, typer.Option(help="DuckDB threads; default: all cores.", min=1)] = None,
    memory: Annotated[
        str | None, typer.Option(help="DuckDB memory limit, such as 4GiB; default: 80% of the machine's.")
    ] = None,
) -> None:
    """Check a run against a policy: a quality gate for schedulers and CI.

    zhclip check --example > policy.yaml
    zhclip check runs/october --policy policy.yaml --against runs/september

    Exit code 0 if every rule of severity error passed, 1 if one failed, 2 if the policy or a run cannot be used.
    """
    from pipeline.inspect.check.policy import DEFAULT

    if example:
        print(DEFAULT.read_text(encoding="utf-8"), end="")
        return
    usage = "zhclip check RUN --policy policy.yaml; `zhclip check --example` prints a policy"
    _check(named_run(run, run_option, usage), policy or DEFAULT, against, as_json, threads, memory)


def _check(run: str, path: Path, against: str | None, as_json: bool, threads: int | None, memory: str | None) -> None:
    from foundation.config import location
    from pipeline.inspect.check import show
    from pipeline.inspect.check.check import RuleError, check
    from pipeline.inspect.check.policy import load_policy

    try:
        results = check(run, load_policy(path), against, threads, memory)
    except RuleError as error:
        fail(f"{location(path, ('rules', error.number))}  {error}", error.exit_code)
    if as_json:
        print_json(show.as_json(run, str(path), against, results))
    else:
        show.print_results(run, against, results, Console(width=None if sys.stdout.isatty() else LOG_WIDTH))
    raise typer.Exit(EXIT_FAILED if any(result.stops for result in results) else 0)
