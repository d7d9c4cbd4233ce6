"""The commands that work on a run: `curate`, one for each stage, and `retry`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.stages.registry import COMMANDS
from zhclip.console import interruptible, messages, print_json
from zhclip.words import WORDS, BeamCommand, recipe_and_run

if TYPE_CHECKING:
    from pipeline.run.folder import Run
    from pipeline.runners.progress import ProgressCallback
    from pipeline.runners.retry import Retry

CORES = os.cpu_count() or 1

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar=WORDS,
        help="The recipe: a YAML file or builtin:NAME; without one, the recipe that the run was started with. Then the run's "
        "folder: a new one is started, an existing one continued. A single word that ends in .yaml or .yml, or is a file, is "
        "a recipe.",
        show_default=False,
    ),
]
RunOption = Annotated[Path | None, typer.Option("--run", metavar="RUN", help="The run's folder, instead of the word.")]
Workers = Annotated[int, typer.Option(help="Shards at a time, on the embedded runner.", min=1)]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and no progress.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a recipe value: key.path=value (repeatable).")
]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to a command line."""
    app.command("curate", cls=BeamCommand)(curate_command)
    for name, stages in COMMANDS.items():
        summary = " ".join(stage.summary for stage in stages)
        app.command(name, cls=BeamCommand, help=_stage_help(name, summary))(_stage_command(name))
    app.command("retry", cls=BeamCommand)(retry_command)


def curate_command(
    context: typer.Context,
    words: Words = None,
    run: RunOption = None,
    workers: Workers = CORES,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Runs all stages: translate (where a source has a model for it), plan, download, score, select, publish.

    Run it again to continue after an interruption. What follows [bold]--[/] goes to Beam:

        zhclip curate builtin:chinese_clip runs/first
        zhclip curate builtin:chinese_clip runs/first --set sources.laion.min_score=0.3
        zhclip curate builtin:chinese_clip runs/first -- --runner=FlinkRunner --parallelism=64
        zhclip curate runs/first                                  # an existing run, with its own recipe
    """
    _curate(context, list(COMMANDS), words or [], run, workers, overrides or [], as_json)


def _stage_command(stage: str) -> Callable[..., None]:
    def command(
        context: typer.Context,
        words: Words = None,
        run: RunOption = None,
        workers: Workers = CORES,
        overrides: Overrides = None,
        as_json: Json = False,
    ) -> None:
        _curate(context, [stage], words or [], run, workers, overrides or [], as_json)

    return command


def _stage_help(stage: str, summary: str) -> str:
    return f"""{summary}

    What follows [bold]--[/] goes to Beam:

        zhclip {stage} runs/first                          # an existing run, with its own recipe
        zhclip {stage} builtin:chinese_clip runs/first
        zhclip {stage} recipe.yaml --run runs/first
        zhclip {stage} runs/first -- --runner=FlinkRunner --parallelism=64
    """


def retry_command(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    reasons: Annotated[
        list[str] | None,
        typer.Option("--reason", help="Only what failed for this reason (repeatable); by default all that may pass."),
    ] = None,
    above: Annotated[
        float, typer.Option(help="Only shards of which a larger share failed so, such as 0.1.", min=0, max=1)
    ] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be fetched again, and stop.")] = False,
    workers: Workers = CORES,
    as_json: Json = False,
) -> None:
    """Fetches again what failed for a reason that may have passed, and publishes anew. What was fetched stays.

    After an outage: timeouts, lost connections, names not found, 408, 425, 429, 5xx. Shards that are touched are scored
    again; then select and publish run over all. Interrupted, it is continued by [bold]zhclip curate[/].

        zhclip retry runs/first --dry-run
        zhclip retry runs/first --above 0.1
        zhclip retry runs/first --reason http_403 --reason file_missing
    """
    from pipeline import failed_downloads, read_run
    from pipeline import retry as fetch_again

    opened = read_run(run)
    failed = failed_downloads(opened, reasons or [], above)
    _print_retry(failed, Console(quiet=as_json))
    if dry_run or not failed.shards:
        if as_json:
            print_json(asdict(failed))
        return
    with _working(opened, as_json) as progress:
        images = fetch_again(opened, failed, workers=workers, beam_options=context.args, progress=progress)
    _print_result(opened, as_json)
    messages(as_json).print(f"{images:,} of {failed.pairs:,} images came this time", highlight=False)


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
    table.add_row(f"{len(failed.shards):,} shards", f"{failed.pairs:,}")
    console.print(table)


def _curate(
    context: typer.Context,
    stages: Sequence[str],
    words: Sequence[str],
    option: Path | None,
    workers: int,
    overrides: Sequence[str],
    as_json: bool,
) -> None:
    from pipeline import load_recipe, open_run, run_stages
    from pipeline.api import check_beam_options, own_recipe

    recipe, folder = recipe_and_run(words, option, str(context.info_name))
    check_beam_options(context.args)
    run, changes = open_run(folder, load_recipe(recipe, overrides) if recipe else own_recipe(folder, overrides))
    for line in changes:
        messages(as_json).print(f"[yellow]recipe changed[/] {escape(line)}", highlight=False)
    with _working(run, as_json) as progress:
        run_stages(run, stages, workers=workers, beam_options=context.args, progress=progress)
    _print_result(run, as_json)


@contextmanager
def _working(run: Run, as_json: bool) -> Iterator[ProgressCallback]:
    """Show progress while the work in the context goes on; Ctrl-C ends the process."""
    from foundation.log import quiet_libraries
    from zhclip.progress import progress_bars

    quiet_libraries()
    with (
        interruptible(f"stopped; what is committed stays. The same command continues {run.folder}"),
        progress_bars(messages(as_json)) as bars,
    ):
        yield bars


def _print_result(run: Run, as_json: bool) -> None:
    from pipeline import status
    from pipeline.inspect.status import print_funnel

    if as_json:
        print_json(status(run))
        return
    print_funnel(run, Console())
    messages().print(
        f"[green]done[/] {escape(str(run.folder))}   prove it with: zhclip verify {escape(shlex.quote(str(run.folder)))}",
        highlight=False,
    )
