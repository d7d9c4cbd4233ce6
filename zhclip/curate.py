"""The commands that work on a run: `curate`, one for each stage, and `retry`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from foundation.console import announce, messages
from foundation.text import counted
from pipeline.stages.registry import COMMANDS
from zhclip.console import interruptible, print_json
from zhclip.words import WORDS, BeamCommand, RunFolder, RunOption, named_run, recipe_and_run

if TYPE_CHECKING:
    from pipeline.run.folder import Run
    from pipeline.runners.progress import ProgressCallback
    from pipeline.runners.retry import Retry

CORES = os.cpu_count() or 1

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar=WORDS,
        help="The recipe (a YAML file or builtin:NAME) and the run's folder. A new folder starts a run, an existing run is "
        "continued; without a recipe it keeps its own. A single argument is a recipe if it begins with builtin:, ends in "
        ".yaml or .yml, or is a file.",
        show_default=False,
    ),
]
Workers = Annotated[int, typer.Option(help="Number of shards that the embedded runner processes at a time.", min=1)]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON and no progress.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a recipe value: key.path=value (repeatable).")
]


CURATE_HELP = f"""Run all stages: {", ".join(COMMANDS)}. Those that a recipe does not ask for are left out.

Run the same command again to continue after an interruption. Options after [bold]--[/] are passed to Beam:

zhclip curate builtin:chinese_clip runs/first
zhclip curate builtin:chinese_clip runs/first --set sources.laion.min_score=0.3
zhclip curate builtin:chinese_clip runs/first -- --runner=FlinkRunner --parallelism=64
zhclip curate runs/first                                  # an existing run, with its own recipe
"""


def add_commands(app: typer.Typer) -> None:
    """Add the commands to a command line."""
    app.command("curate", cls=BeamCommand, help=CURATE_HELP)(_command(list(COMMANDS)))
    for name, stages in COMMANDS.items():
        summary = " ".join(stage.summary for stage in stages)
        app.command(name, cls=BeamCommand, help=_stage_help(name, summary))(_command([name]))
    app.command("retry", cls=BeamCommand)(retry_command)


def _command(stages: Sequence[str]) -> Callable[..., None]:
    """The function of `curate` and of each stage's command: their options are the same."""

    def command(
        context: typer.Context,
        words: Words = None,
        run: RunOption = None,
        workers: Workers = CORES,
        overrides: Overrides = None,
        as_json: Json = False,
    ) -> None:
        from pipeline import run_stages

        recipe, folder = recipe_and_run(words or [], run, str(context.info_name))
        opened = _open(recipe, folder, overrides or [], as_json)
        with _working(opened, as_json) as progress:
            run_stages(opened, stages, workers=workers, beam_options=context.args, progress=progress)
        _print_result(opened, as_json)

    return command


def _stage_help(stage: str, summary: str) -> str:
    return f"""{summary}

    Options after [bold]--[/] are passed to Beam:

    zhclip {stage} runs/first                          # an existing run, with its own recipe
    zhclip {stage} builtin:chinese_clip runs/first
    zhclip {stage} recipe.yaml --run runs/first
    zhclip {stage} runs/first -- --runner=FlinkRunner --parallelism=64
    """


def retry_command(
    context: typer.Context,
    run: RunFolder = None,
    run_option: RunOption = None,
    reasons: Annotated[
        list[str] | None,
        typer.Option(
            "--reason", help="Only pairs that failed for this reason (repeatable); default: every temporary reason."
        ),
    ] = None,
    above: Annotated[
        float,
        typer.Option(help="Only shards in which a larger share failed for these reasons, such as 0.1.", min=0, max=1),
    ] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be fetched again and exit.")] = False,
    workers: Workers = CORES,
    as_json: Json = False,
) -> None:
    """Fetch images again that failed for a temporary reason, then publish again; images already fetched are kept.

    For use after an outage. Temporary reasons are timeouts, lost connections, unresolved names, and the statuses 408, 425,
    429 and 5xx. Affected shards are scored again, then select and publish run over the whole run. To continue after an
    interruption, run [bold]zhclip curate[/].

    zhclip retry runs/first --dry-run
    zhclip retry runs/first --above 0.1
    zhclip retry runs/first --reason http_403 --reason file_missing
    """
    from pipeline import failed_downloads, read_run
    from pipeline import retry as fetch_again

    opened = read_run(named_run(run, run_option, "zhclip retry RUN"))
    failed = failed_downloads(opened, reasons or [], above)
    _print_retry(failed, Console(quiet=as_json))
    if dry_run or not failed.shards:
        if as_json:
            print_json(asdict(failed))
        return
    with _working(opened, as_json) as progress:
        images = fetch_again(opened, failed, workers=workers, beam_options=context.args, progress=progress)
    _print_result(opened, as_json)
    if not as_json:
        announce("retry", f"{images:,} of {counted(failed.pairs, 'image')} came this time", images=images)


def _print_retry(failed: Retry, console: Console) -> None:
    """What is to be fetched again, by reason."""
    if not failed.shards:
        console.print("nothing to fetch again: no shard has that many failures of these reasons", highlight=False)
        return
    table = Table("reason", title_justify="left")
    table.add_column("to be fetched again", justify="right")
    for reason, pairs in failed.reasons.items():
        table.add_row(reason, f"{pairs:,}")
    table.add_section()
    table.add_row(counted(len(failed.shards), "shard"), f"{failed.pairs:,}")
    console.print(table)


def _open(recipe: str | None, folder: str, overrides: Sequence[str], as_json: bool) -> Run:
    """The run, with a recipe or its own; what of the recipe changed is printed."""
    from pipeline import load_recipe, open_run
    from pipeline.api import own_recipe

    run, changes = open_run(folder, load_recipe(recipe, overrides) if recipe else own_recipe(folder, overrides))
    for line in changes if not as_json else ():
        announce("curate", f"recipe changed {line}", f"[yellow]recipe changed[/] {escape(line)}")
    return run


@contextmanager
def _working(run: Run, as_json: bool) -> Iterator[ProgressCallback]:
    """Show progress while the work in the context goes on; Ctrl-C ends the process."""
    from zhclip.progress import progress_bars

    with (
        interruptible(f"stopped; what is committed stays. The same command continues {run.address}"),
        progress_bars(messages(as_json)) as bars,
    ):
        yield bars


def _print_result(run: Run, as_json: bool) -> None:
    from pipeline import status
    from pipeline.inspect.status import print_funnel
    from pipeline.stages.publish.card import stored_root

    root = stored_root(run)
    if as_json:
        print_json({**status(run), "root": root})
        return
    print_funnel(run, Console())
    folder = run.address
    if root:
        announce("curate", f"root {root}", root=root)
    shown = f"[green]done[/] {escape(folder)}   prove it with: zhclip verify {escape(shlex.quote(folder))}"
    announce("curate", f"done {folder}", shown, folder=folder)
