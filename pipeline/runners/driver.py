"""Runs the stages of a run one after the other, continuing wherever the last process stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from foundation.log import logger
from pipeline.inspect.catalog import write_catalog
from pipeline.run.folder import Run
from pipeline.run.lease import Lease, drive
from pipeline.run.manifest import RunError
from pipeline.runners.beam import run_items
from pipeline.runners.housekeeping import tidy
from pipeline.stages.base import Stage
from pipeline.stages.layout import read_layout
from pipeline.stages.opening import check_recipe
from pipeline.stages.registry import COMMANDS, STAGES, enabled

Progress = Callable[[Stage, Run, list[str]], None]
"""Called as each stage begins, with the names of its shards."""


def run_stages(
    run: Run,
    commands: Sequence[str],
    workers: int,
    beam_options: Sequence[str],
    progress: Progress,
    before: Callable[[Run], None] = lambda _: None,
) -> None:
    """Run the stages of some commands (`pipeline.stages.registry.COMMANDS`), in the order of the flow; a stage with nothing
    left to do costs a look at its folder.

    Args:
        workers: items at a time, on the embedded runner.
        beam_options: as Beam's command line takes them.
        before: done first, while no other process works on this run.

    Raises:
        RunError: another process works on this run, a stage is asked for before the one it reads, or a version of zhclip
            with other stages or settings made what took long.
        StageFailed: items could not be done; all others are committed.
        Superseded: this process was held up for so long that another one took over.
        TooMuchFailed: more failed than the recipe's limits allow.
    """
    stages = [stage for name, stages in COMMANDS.items() if name in commands for stage in stages]
    with drive(run.storage) as lease:
        run = replace(run, epoch=lease.epoch)
        check_recipe(run)
        _check_digests(run)
        _tidy(run, lease)
        before(run)
        for stage in _from(stages[0], enabled(run.recipe)) if stages else ():
            stage.prepare(run)  # later ones too, asked for or not: a mistake is told before hours of work
        worked = False
        for stage in stages:
            if stage.enabled(run.recipe):
                _check_input(run, stage)
                worked |= _run_stage(run, stage, workers, beam_options, progress)
        if worked:
            tidy(run)  # what the losers of two attempts at a shard have left


def _tidy(run: Run, lease: Lease) -> None:
    garbage = tidy(run)
    if lease.before is not None:
        logger("driver").warning(
            "took over %s from %s, which ended without a word: %d files that it left were removed, %d shards are made again",
            run.address,
            lease.before,
            len(garbage.files),
            sum(map(len, garbage.again.values())),
        )


def _from(first: Stage, stages: Iterable[Stage]) -> list[Stage]:
    """Those of `stages` that do not stand before `first`."""
    names = list(STAGES)
    return [stage for stage in stages if names.index(stage.name) >= names.index(first.name)]


def _check_digests(run: Run) -> None:
    """What took long counts for this recipe: `open_run` sees to it, unless zhclip itself changed since."""
    for stage in enabled(run.recipe):
        for manifest in () if stage.cheap else run.all_manifests(stage.name):
            if manifest.digest != run.digest(stage.name):
                raise RunError(
                    f"{run.address}/{run.manifest_name(stage.name, manifest.shard)} does not carry the digest "
                    f"{run.digest(stage.name)}: a zhclip with other stages or settings made it. Use that version, or start a new "
                    "run with --run"
                )


def _check_input(run: Run, stage: Stage) -> None:
    """The layout is there, and the enabled stage before is complete."""
    read_layout(run)
    names = list(run.stages)
    before = [other for other in enabled(run.recipe) if names.index(other.name) < names.index(stage.name)]
    if before and before[-1].pending(run):
        needed = before[-1]
        raise RunError(
            f"the {stage.name} stage needs all of the {needed.name} stage: run `zhclip {needed.command}` or `zhclip curate` first"
        )


def _run_stage(run: Run, stage: Stage, workers: int, beam_options: Sequence[str], progress: Progress) -> bool:
    """Whether there was anything to do."""
    run.check_lease()
    progress(stage, run, stage.shards(run))
    items = stage.pending(run)
    if items:
        run_items(run, stage.name, items, workers, beam_options)
    run.check_lease()  # a driver that was held up for long may have been followed by another one
    stage.check(run)
    stage.finish(run)
    write_catalog(run)
    return bool(items)
