"""What zhclip does, as functions: the command line is these, parsed and printed. `from pipeline import curate, load_recipe`.

Everything that is raised on purpose is a `foundation.errors.ZhclipError`, whose message says everything a person needs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from foundation.errors import InvalidInput
from foundation.extras import need
from foundation.storage import Disk
from pipeline.recipe import Recipe, load_recipe
from pipeline.run.folder import Run
from pipeline.run.names import CALIBRATION
from pipeline.stages.opening import check_recipe, open_run, read_run
from pipeline.stages.registry import COMMANDS as STAGES_OF_COMMAND
from pipeline.stages.registry import STAGES

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.inspect.calibrate.estimate import Calibration
    from pipeline.inspect.verify import Report
    from pipeline.runners.housekeeping import Garbage
    from pipeline.runners.progress import ProgressCallback
    from pipeline.runners.retry import Retry

COMMANDS = tuple(STAGES_OF_COMMAND)
"""Names of the stages, as the command line and `curate` take them, in the order of the flow."""

RunOrFolder = Run | str | Path
"""A run, or the folder that it lies in."""


def curate(
    recipe: Recipe | str | Path | None,
    run_folder: str | Path,
    *,
    stages: Sequence[str] = COMMANDS,
    workers: int | None = None,
    beam_options: Sequence[str] = (),
    progress: ProgressCallback | None = None,
) -> Run:
    """Start a run, or continue one: all stages, or some.

    Args:
        recipe: a recipe, its file, or `builtin:NAME`; None continues a run with its own.
        run_folder: a new folder, or that of a run.
        stages: names from `COMMANDS`, not those of the stages that `status` shows; whatever their order here, they are done in
            the order of the flow.
        workers: shards at a time on Beam's embedded runner; by default one a core.
        beam_options: as Beam's command line takes them, such as `["--runner=FlinkRunner"]`.
        progress: called as the run moves on; see `pipeline.runners.progress.ProgressReader` for when.

    Raises:
        InvalidInput: a recipe, folder, stage or option cannot be used, or the run was started with another recipe.
        WorkFailed: shards could not be done (all others are committed), or more failed than the recipe allows.
    """
    _check_stages(stages)
    check_beam_options(beam_options)
    if recipe is None:
        run = read_run(run_folder)
    else:
        run, _ = open_run(run_folder, recipe if isinstance(recipe, Recipe) else load_recipe(recipe))
    run_stages(run, stages, workers=workers, beam_options=beam_options, progress=progress)
    return run


def run_stages(
    run: Run,
    stages: Sequence[str] = COMMANDS,
    *,
    workers: int | None = None,
    beam_options: Sequence[str] = (),
    progress: ProgressCallback | None = None,
    before: Callable[[Run], None] = lambda _: None,
) -> None:
    """Do stages of a run that is open. Arguments and errors are those of `curate`.

    Args:
        before: done first, while no other process works on this run.
    """
    _check_stages(stages)
    from pipeline.runners.driver import run_stages as drive
    from pipeline.runners.progress import ProgressReader

    check_beam_options(beam_options)
    with ProgressReader(progress) if progress else nullcontext(lambda *_: None) as watch:
        drive(run, stages, workers or os.cpu_count() or 1, beam_options, watch, before)


def failed_downloads(run: RunOrFolder, reasons: Sequence[str] = (), above: float = 0.0) -> Retry:
    """What `retry` would fetch again.

    Args:
        reasons: codes of the download; by default all that may have passed (timeouts, lost connections, 5xx and so on).
        above: only shards of which a larger share than this failed so.

    Raises:
        InvalidInput: there is no run, or a reason that the download does not give.
    """
    from pipeline.runners import retry as downloads

    return downloads.find(_run(run), list(reasons), above)


def retry(
    run: RunOrFolder,
    failed: Retry,
    *,
    workers: int | None = None,
    beam_options: Sequence[str] = (),
    progress: ProgressCallback | None = None,
) -> int:
    """Fetch images again, score their shards again, select and publish anew; what was fetched stays.

    Args:
        failed: from `failed_downloads`. The others are those of `curate`.

    Returns:
        how many images came this time.
    """
    from pipeline.runners import retry as downloads

    check_beam_options(beam_options)
    run = _run(run)
    if not failed.shards:
        return 0
    before = downloads.fetched(run, failed.shards)
    stages = COMMANDS[COMMANDS.index("download") :]
    run_stages(
        run,
        stages,
        workers=workers,
        beam_options=beam_options,
        progress=progress,
        before=lambda driven: downloads.prepare(driven, failed),
    )
    return downloads.fetched(run, failed.shards) - before


def collect_garbage(run: RunOrFolder, *, dry_run: bool = False) -> Garbage:
    """Remove what killed processes left in a run: files that no manifest names, and manifests whose files are gone.

    `curate` does that at each start. The result has `names` and `bytes` of the files, and `again`, the shards by stage that
    `curate` makes anew.

    Args:
        dry_run: change nothing; while a process works on the run, what its workers are about to commit is in the list.

    Raises:
        RunError: another process works on the run. Nothing was changed.
    """
    from pipeline.run.lease import drive
    from pipeline.runners.housekeeping import find_garbage, tidy

    run = _run(run)
    if dry_run:
        return find_garbage(run)
    with drive(run.storage) as lease:
        run = replace(run, epoch=lease.epoch)
        check_recipe(run)
        return tidy(run)


def own_recipe(run_folder: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe that a run was started with, with `key.path=value` overrides laid over it.

    Raises:
        InvalidInput: there is no run, or an override cannot be used.
    """
    return read_run(run_folder, overrides).recipe


def status(run: RunOrFolder) -> dict[str, Any]:
    """How far a run is and where every row went, as plain JSON types: what `zhclip status --json` prints."""
    from pipeline.inspect.status import summary

    return summary(_run(run))


def verify(
    run: RunOrFolder,
    console: Console | None = None,
    *,
    sample: float | None = None,
    seed: int = 0,
    root: str | None = None,
) -> Report:
    """Recompute every hash, key and count of a run, and join its pairs from the plan to what is published.

    The report has `problems`, sentences; `incomplete`, what is still to be done; `root`, the hash of a complete run; `checked`,
    numbers by name.

    Args:
        console: where to show progress; by default nowhere.
        sample: read the tars of so many shards alone: below 1 a share of them, from 1 on a number; None: all.
        seed: chooses them.
        root: the root that the run should have: another one is a problem.

    Raises:
        InvalidInput: the folder holds no run, or one of another format. A damaged recipe is a problem in the report.
    """
    from rich.console import Console

    from pipeline.inspect.verify import verify_folder, verify_run

    console = console or Console(quiet=True)
    if isinstance(run, Run):
        return verify_run(run, console, sample=sample, seed=seed, root=root)
    return verify_folder(run, console, sample=sample, seed=seed, root=root)


def calibrate(
    run: RunOrFolder,
    *,
    source: str | None = None,
    sample: int = 2000,
    mismatched: float | None = None,
    seed: int = 0,
    keep: float = 0.8,
    precision: float = 0.95,
    out: str | Path | None = None,
) -> tuple[list[Calibration], Path | str]:
    """Score a sample of a run's pairs again, true and shuffled, and write calibration.png, .json and .parquet.

    Args:
        source: only this one.
        sample: images scored again, per source.
        mismatched: share of pairs with another image's caption; by default estimated.
        seed: chooses and shuffles the sample.
        keep: the share that one of the two thresholds keeps.
        precision: the precision that the other one has.
        out: folder of the results; by default calibration/ in the run.

    Returns:
        one estimate per source, and the folder (or url) that they were written to.
    """
    need("score", "zhclip calibrate")
    from pipeline.inspect.calibrate import report
    from pipeline.inspect.calibrate.estimate import calibrate as estimate
    from pipeline.inspect.calibrate.plot import plot

    run = _run(run)
    calibrations = estimate(run, source, sample, mismatched, seed)
    with TemporaryDirectory(prefix="zhclip-calibration-") as temporary:
        folder = Path(out or temporary)
        report.write(run, calibrations, folder, keep, precision)
        plot(calibrations, folder / "calibration.png", keep, precision)
        if out:
            return calibrations, folder
        for path in folder.iterdir():
            run.storage.put(f"{CALIBRATION}/{path.name}", path)
    written = f"{run.address}/{CALIBRATION}"
    return calibrations, Path(written) if isinstance(run.storage, Disk) else written


def check_beam_options(options: Sequence[str]) -> None:
    """Refuse an option that Beam does not know.

    Raises:
        InvalidInput: it names the nearest known option.
    """
    if not options:
        return
    need("plan", "Beam")
    from pipeline.runners.options import check_beam_options as check

    check(options)


def _run(run: RunOrFolder) -> Run:
    return run if isinstance(run, Run) else read_run(run)


def _check_stages(stages: Sequence[str]) -> None:
    """Check that all of them exist, and that what they need is installed."""
    if isinstance(stages, str):
        raise InvalidInput(f"stages: expected a list of names, such as [{stages!r}]; found {stages!r}")
    for stage in stages:
        if stage in STAGES and stage not in COMMANDS:
            raise InvalidInput(f"{stage!r} is done by the command `{STAGES[stage].command}`: name that instead")
        if stage not in COMMANDS:
            raise InvalidInput(f"{stage!r} is no stage; stages are {', '.join(COMMANDS)}")
        for extra in {part.extra for part in STAGES_OF_COMMAND[stage]}:
            need(extra, f"zhclip {stage}")
