"""The command line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from foundation.errors import ZhclipError
from pipeline.stages.registry import COMMANDS
from trainer.cli import add_commands
from zhclip.check import add_command as add_check
from zhclip.exits import EXIT_FAILED, EXIT_INTERRUPTED, fail, require, tell
from zhclip.report import add_command as add_report
from zhclip.serve import add_command as add_serve
from zhclip.sql import add_command as add_sql

if TYPE_CHECKING:
    from pipeline.run.folder import Run
    from pipeline.runners.retry import Retry

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False, add_completion=False)
recipe_app = typer.Typer(no_args_is_help=True, help="Look at recipes.")
app.add_typer(recipe_app, name="recipe")
CORES = os.cpu_count() or 1
PASS_ON = {"allow_extra_args": True}
EXTRAS = {"select": "plan", "publish": "plan"}  # of stages that have no extra of their own name

RunFolder = Annotated[
    Path, typer.Option("--run", help="The run's folder; a new one is started, an existing one continued.")
]
Workers = Annotated[int, typer.Option(help="Shards at a time, on the embedded runner.", min=1)]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and no progress.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a recipe value: key.path=value (repeatable).")
]
OptionalRecipe = Annotated[Path | None, typer.Argument(help="The recipe; by default the one the run was started with.")]


@app.callback()
def about() -> None:
    """Curate Chinese image-text pairs, and pretrain Chinese CLIP on them.

    [bold]zhclip curate recipes/chinese_clip.yaml --run runs/first[/]    everything, continuing where it stopped
    [bold]zhclip status runs/first[/]                                     how far it is, and why pairs fell out
    [bold]zhclip verify runs/first[/]                                     proof that nothing is lost or damaged
    """


@app.command(context_settings=PASS_ON)
def curate(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="The recipe (YAML).")],
    run: RunFolder,
    workers: Workers = CORES,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Runs all stages: translate (where a source has a model for it), plan, download, score, select, publish.

    Run it again to continue after an interruption. What follows [bold]--[/] goes to Beam:

        zhclip curate recipes/chinese_clip.yaml --run runs/first
        zhclip curate recipes/chinese_clip.yaml --run runs/first --set sources.laion.min_score=0.3
        zhclip curate recipes/chinese_clip.yaml --run runs/first -- --runner=FlinkRunner --parallelism=64
    """
    _work(list(COMMANDS), recipe, run, workers, context.args, overrides, as_json)


def _stage_command(stage: str, what: str) -> None:
    def command(
        context: typer.Context,
        run: RunFolder,
        recipe: OptionalRecipe = None,
        workers: Workers = CORES,
        overrides: Overrides = None,
        as_json: Json = False,
    ) -> None:
        _work([stage], recipe, run, workers, context.args, overrides, as_json)

    command.__doc__ = f"{what}\n\n    zhclip {stage} recipes/chinese_clip.yaml --run runs/first [-- Beam options]"
    app.command(name=stage, context_settings=PASS_ON)(command)


for _name, _stages_of_command in COMMANDS.items():
    _stage_command(_name, " ".join(stage.summary for stage in _stages_of_command))


@app.command(context_settings=PASS_ON)
def retry(
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
    from pipeline.runners import retry as code

    found_run = _or_exit(lambda: _read_run(run))
    found = _or_exit(lambda: code.find(found_run, reasons or [], above))
    _print_retry(found, Console(quiet=as_json))
    if dry_run or not found.shards:
        if as_json:
            print(json.dumps(asdict(found), ensure_ascii=False))
        return
    had = code.fetched(found_run, found.shards)
    names = list(COMMANDS)
    stages = names[names.index("download") :]
    _stages(found_run, stages, workers, context.args, as_json, before=lambda: code.prepare(found_run, found))
    came = code.fetched(found_run, found.shards) - had
    if not as_json:
        Console(stderr=True).print(f"{came:,} of {found.pairs:,} images came this time", highlight=False)


def _print_retry(found: Retry, console: Console) -> None:
    """What is to be fetched again, by reason."""
    if not found.shards:
        console.print("nothing to fetch again: no shard has that many failures of these reasons", highlight=False)
        return
    table = Table("reason", title_justify="left")
    table.add_column("to be fetched again", justify="right")
    for reason, pairs in found.reasons.items():
        table.add_row(reason, f"{pairs:,}")
    table.add_section()
    table.add_row(f"{len(found.shards):,} shards", f"{found.pairs:,}")
    console.print(table)


@app.command()
def status(run: Annotated[Path, typer.Argument(help="The run's folder.")], as_json: Json = False) -> None:
    """Shows how far a run is and where every row went."""
    from pipeline.inspect.status import print_status, summary

    found = _or_exit(lambda: _read_run(run))
    if as_json:
        print(json.dumps(summary(found), ensure_ascii=False))
    else:
        print_status(found, Console())


@app.command()
def verify(run: Annotated[Path, typer.Argument(help="The run's folder.")], as_json: Json = False) -> None:
    """Recomputes every count and hash of a run; names each shard and key that is wrong. Exit code 1 if any is."""
    from pipeline.inspect.verify import verify_run

    found = _or_exit(lambda: _read_run(run))
    report = verify_run(found, Console(stderr=True, quiet=as_json))
    if as_json:
        print(json.dumps({"checked": report.checked, "problems": report.problems}, ensure_ascii=False))
    else:
        report.print(Console())
    raise typer.Exit(EXIT_FAILED if report.problems else 0)


@app.command()
def calibrate(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    keep: Annotated[float, typer.Option(help="Find the threshold that keeps this share.", min=0, max=1)] = 0.8,
    precision: Annotated[float, typer.Option(help="Find the threshold that is this precise.", min=0, max=1)] = 0.95,
    mismatched: Annotated[
        float | None,
        typer.Option(help="Share of pairs with another image's caption; by default estimated.", min=0, max=1),
    ] = None,
    sample: Annotated[int, typer.Option(help="Images scored again, per source.", min=2)] = 2000,
    seed: Annotated[int, typer.Option(help="Chooses and shuffles the sample.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the results; by default RUN/calibration.")] = None,
    as_json: Json = False,
) -> None:
    """Shows what thresholds mean for a run's scorer: scores of its pairs beside those of shuffled pairs.

    Writes calibration.png, .json and .parquet.
    """
    from foundation.log import quiet_libraries

    require("score", "zhclip calibrate")
    quiet_libraries()
    from pipeline.inspect.calibrate import report as report
    from pipeline.inspect.calibrate.estimate import calibrate as work
    from pipeline.inspect.calibrate.plot import plot

    found_run = _or_exit(lambda: _read_run(run))
    found = _or_exit(lambda: work(found_run, source, sample, mismatched, seed))
    folder = out or run / "calibration"
    report.write(found_run, found, folder, keep, precision)
    plot(found, folder / "calibration.png", keep, precision)
    if as_json:
        print(json.dumps(report.as_json(found_run, found, keep, precision), ensure_ascii=False))
    else:
        report.print_tables(found, keep, precision, Console())
        Console(stderr=True).print(f"[green]done[/] {folder}/calibration.png", highlight=False)


@recipe_app.command("show")
def recipe_show(path: Annotated[Path, typer.Argument(help="The recipe (YAML).")], overrides: Overrides = None) -> None:
    """Checks a recipe and prints it with every default, unit and description."""
    from foundation.config import annotated
    from pipeline.recipe import load_recipe

    print(annotated(_or_exit(lambda: load_recipe(path, overrides or ()))), end="")


@recipe_app.command("files")
def recipe_files(
    path: Annotated[Path, typer.Argument(help="The recipe (YAML).")], overrides: Overrides = None, as_json: Json = False
) -> None:
    """Lists the metadata files that a recipe's paths and globs name now, source by source."""
    from pipeline.recipe import load_recipe
    from pipeline.sources.files import find_files

    sources = _or_exit(lambda: load_recipe(path, overrides or ())).sources
    found = _or_exit(lambda: {name: find_files(source.files) for name, source in sources.items()})
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        print("\n".join(f"{name}\t{file}" for name, files in found.items() for file in files))


add_commands(app)
add_check(app)
add_report(app)
add_serve(app)
add_sql(app)


def _work(
    stages: list[str],
    recipe: Path | None,
    folder: Path,
    workers: int,
    beam_options: list[str],
    overrides: list[str] | None,
    as_json: bool,
) -> None:
    from pipeline.recipe import load_recipe
    from pipeline.stages.opening import open_run

    console = Console(stderr=True, quiet=as_json)
    loaded = _or_exit(lambda: load_recipe(recipe, overrides or ()) if recipe else _read_run(folder).recipe)
    run, changes = _or_exit(lambda: open_run(folder, loaded))
    for line in changes:
        console.print(f"[yellow]recipe changed[/] {escape(line)}", highlight=False)
    _stages(run, stages, workers, beam_options, as_json)


def _stages(
    run: Run,
    stages: list[str],
    workers: int,
    beam_options: list[str],
    as_json: bool,
    before: Callable[[], None] = lambda: None,
) -> None:
    from foundation.log import quiet_libraries

    for stage in stages:
        require(EXTRAS.get(stage, stage), f"zhclip {stage}")
    quiet_libraries()
    from pipeline.inspect.status import print_funnel, summary
    from pipeline.runners.driver import run_stages
    from zhclip.progress import ProgressWatch

    console = Console(stderr=True, quiet=as_json)

    def work() -> None:
        with ProgressWatch(console) as watch:
            run_stages(run, stages, workers, beam_options, watch, before)

    _or_exit(work, on_interrupt=run.folder)
    if as_json:
        print(json.dumps(summary(run), ensure_ascii=False))
    else:
        print_funnel(run, Console())
        console.print(f"[green]done[/] {run.folder}   prove it with: zhclip verify {run.folder}", highlight=False)


def _read_run(folder: Path) -> Any:
    from pipeline.stages.opening import read_run

    return read_run(folder)


def _or_exit(action: Any, on_interrupt: Path | None = None) -> Any:
    """The action's result; errors that a person can act on are printed without a traceback."""
    try:
        return action()
    except ZhclipError as error:
        fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        tell(f"stopped; what is committed stays. The same command continues {on_interrupt or ''}".rstrip())
        # Threads of the runner may be inside a model or waiting for a child, which dies with us.
        os._exit(EXIT_INTERRUPTED)


def main() -> None:
    """Entry point of `zhclip`."""
    app()
