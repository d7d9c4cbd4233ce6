"""Runs the steps of a run one after the other, continuing wherever the last process stopped."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from foundation.errors import WorkFailed
from pipeline.inspect.catalog import write_catalog
from pipeline.run.counts import step_counts
from pipeline.run.folder import Run, RunError, Step
from pipeline.runners.beam import run_items
from pipeline.stages.eval_images import stage as test_images
from pipeline.stages.read.layout import make_layout, read_layout
from pipeline.stages.registry import STEPS, STEPS_OF_STAGE, StepCode

Watch = Callable[[StepCode, Run, list[str]], None]


class TooMuchFailed(WorkFailed):
    """More failed than the recipe's limits allow."""


def run_stages(
    run: Run,
    stages: Sequence[str],
    workers: int,
    beam_options: Sequence[str],
    watch: Watch,
    before: Callable[[], None] = lambda: None,
) -> None:
    """Runs the given stages; a step with nothing left to do costs a look at its folder.

    Args:
        watch: told of each step before it starts, with the names of its shards.
        before: done first, while no other process works on this run.

    Raises:
        RunError: another process works on this run, or a stage is asked for before the one it reads.
        StepFailed, TooMuchFailed: see there.
    """
    with _only_driver(run):
        before()
        if {"translate", "plan"}.intersection(stages):
            make_layout(run)
            test_images.check(run)
        for stage in stages:
            for step in STEPS_OF_STAGE[stage]:
                _check_input(run, step)
                _run_step(run, STEPS[step], workers, beam_options, watch)


def _needed(step: Step) -> tuple[Step, ...]:
    order = list(STEPS)
    return tuple(order[: order.index(step)][-1:])


def _check_input(run: Run, step: Step) -> None:
    if not (run.folder / "layout.json").exists():
        raise RunError(
            f"{run.folder} has no plan yet: run `zhclip plan` (or `zhclip curate`, which runs all stages) first"
        )
    for before in _needed(step):
        if STEPS[before].pending(run):
            raise RunError(
                f"the {step} step needs all of the {before} step: run `zhclip {before}` or `zhclip curate` first"
            )


def _run_step(run: Run, step: StepCode, workers: int, beam_options: Sequence[str], watch: Watch) -> None:
    if not step.applies(run):
        return
    watch(step, run, step.expected(run))
    items = step.pending(run)
    if items:
        run_items(run, step.name, items, workers, beam_options)
    _check_limits(run, step.name)
    if step.finish:
        step.finish(run)
    write_catalog(run)


def _check_limits(run: Run, step: Step) -> None:
    limits = run.recipe.limits
    if step == "read":
        for name, found in step_counts(run, step).items():
            blocks = sum(split.source == name for split in read_layout(run).splits)
            share = max(found["failed"] / max(1, found["read"]), found["unknown"] / max(1, blocks))
            if share > limits.unreadable_share:
                raise TooMuchFailed(
                    f"source {name}: {found['failed']:,} of {found['read']:,} rows cannot be read, and {found['unknown']} of "
                    f"{blocks} files end early or do not open; limits.unreadable_share is {limits.unreadable_share:g}. "
                    f"`ledger/read` names every place: mend the files, or raise the limit"
                )
    if step == "download":
        counts = step_counts(run, step).values()
        failed, tried = sum(one["failed"] for one in counts), sum(one["in"] for one in counts)
        if failed > limits.download_failed_share * tried:
            raise TooMuchFailed(
                f"{failed:,} of {tried:,} downloads failed, more than limits.download_failed_share "
                f"({limits.download_failed_share:g}) allows; `zhclip status` shows the reasons. After an outage, `zhclip retry "
                f"{run.folder}` fetches them again"
            )


@contextmanager
def _only_driver(run: Run) -> Iterator[None]:
    with (run.folder / ".locks" / "driver").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"another process is working on {run.folder}; `zhclip status` shows how far it is") from None
        shutil.rmtree(run.folder / ".attempts", ignore_errors=True)  # left by processes that were killed
        yield
