"""Everything that is checked, in order: what a run begins with, its manifests, its shards, then what joins them."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track

from foundation.config import ConfigError
from foundation.errors import InvalidInput
from pipeline.inspect.verify import broken, manifests
from pipeline.inspect.verify.catalog import check_catalog
from pipeline.inspect.verify.context import Context, LoadedRun, indexes_of_plan_shards, short
from pipeline.inspect.verify.dataset import check_dataset
from pipeline.inspect.verify.foreign import foreign_files
from pipeline.inspect.verify.layout import check_layout, sound_layout
from pipeline.inspect.verify.manifests import Manifests
from pipeline.inspect.verify.other_shards import check_shard
from pipeline.inspect.verify.plan_shard import check_plan_shard
from pipeline.inspect.verify.presence import Presence, dataset_there, look
from pipeline.inspect.verify.published import check_published
from pipeline.inspect.verify.reading import RunFiles
from pipeline.inspect.verify.report import Report
from pipeline.inspect.verify.rows import check_conservation, check_positions, check_ranges
from pipeline.run.folder import Run
from pipeline.run.manifest import RunError
from pipeline.run.names import CATALOG_SQL, DATASET, LAYOUT_FILE
from pipeline.stages.layout import Layout
from pipeline.stages.opening import read_run
from pipeline.stages.publish.stage import Piece, kept_stage, shards_of_pieces
from pipeline.stages.registry import STAGES

Sample = float | None
Task = tuple[str, Callable[[], Iterable[str]]]  # what is checked, and the check


def verify_folder(
    folder: str | Path, console: Console, *, sample: Sample = None, seed: int = 0, root: str | None = None
) -> Report:
    """As `verify_run`, of a folder whose recipe.yaml or run.json may be damaged: that is a problem, and the rest is checked.

    Raises:
        RunError: there is no run in the folder, or one of another format.
    """
    try:
        return verify_run(read_run(folder), console, sample=sample, seed=seed, root=root)
    except (ConfigError, RunError, UnicodeDecodeError) as error:
        run, problems = broken.opened(folder, error)
    report = verify_run(run, console, sample=sample, seed=seed, root=root) if run else broken.verify(folder, console)
    report.problems[:0] = problems
    return report


def verify_run(
    run: Run,
    console: Console,
    *,
    sample: Sample = None,
    seed: int = 0,
    root: str | None = None,
    threads: int | None = None,
) -> Report:
    """Checks a run as far as it has come; a run in progress is checked for what is committed.

    Args:
        sample: reads the tars of so many shards of each stage alone: below 1 a share of them, from 1 on a number; None: all.
        seed: chooses them.
        root: the root that the run should have; another one is a problem.
        threads: shards that are read at a time; by default one a core.
    """
    report, files = Report(), RunFiles(run)
    listing = files.listing()  # first: what is committed while this runs is not foreign
    loaded = manifests.load(run, files)
    report.problems += loaded.problems
    context = Context(
        LoadedRun(run.storage, run.recipe, run.stages, loaded=loaded.loaded),
        files,
        sampled=_chosen(loaded, sample, seed),
    )
    context = replace(context, layout=_layout(context, report))
    presence = _presence(context, report, loaded)
    pieces = _pieces(context, presence)
    context = replace(context, indexes=indexes_of_plan_shards(context.run, pieces))
    _check_shards(context, report, pieces, console, threads or os.cpu_count() or 1)
    _guarded(report, "conservation", lambda: check_conservation(context, presence.complete))
    _guarded(report, "key ranges", lambda: check_ranges(context, presence.complete))
    _guarded(report, "rows", lambda: check_positions(context))
    _guarded(report, "foreign files", lambda: foreign_files(context, loaded, presence, listing))
    if loaded.problems or presence.problems or context.layout is None:
        report.skipped.append(f"{CATALOG_SQL}: a catalog is compared where the layout and all manifests are sound")
    else:
        _guarded(report, CATALOG_SQL, lambda: check_catalog(context))
    _check_root(context, report, presence, root)
    if sample is not None:
        report.skipped.append(f"the bytes of tars but for {len(context.sampled or ()):,} (--sample)")
    return report


def _layout(context: Context, report: Report) -> Layout | None:
    """The layout, if there is one that can be read; what is wrong with it is in the report."""
    if context.files.size(LAYOUT_FILE) is None:
        return None
    layouts: list[Layout] = []

    def check() -> Iterator[str]:
        layouts.append(sound_layout(context))
        yield from check_layout(context, layouts[0])

    _guarded(report, LAYOUT_FILE, check)
    return layouts[0] if layouts else None


def _presence(context: Context, report: Report, loaded: Manifests) -> Presence:
    """How far the run is; where the layout is damaged nobody can tell."""
    there = context.files.size(LAYOUT_FILE) is not None
    presence = Presence() if there and context.layout is None else look(context, loaded, there)
    report.problems += presence.problems
    report.incomplete = presence.incomplete
    return presence


def _check_root(context: Context, report: Report, presence: Presence, root: str | None) -> None:
    """The published folder's own manifest, and the root of a complete run."""
    if "publish" in presence.complete and dataset_there(context):
        try:
            report.root, problems = check_dataset(context)
            report.problems += problems
        except Exception as error:
            report.problems.append(f"{DATASET}: cannot be checked: {short(error)}")
    if root is not None and root.lower() != report.root:
        there = f"the run's is {report.root}" if report.root else "a run has a root once it is complete and published"
        report.problems.append(f"root {root} was expected; {there}")


def _chosen(loaded: Manifests, sample: Sample, seed: int) -> frozenset[tuple[str, str]] | None:
    """(stage, shard) of the tars that are read."""
    if sample is None:
        return None
    chance, chosen = random.Random(seed), set()
    for stage in STAGES.values():
        if ".tar" in stage.endings:
            shards = sorted(loaded.loaded[stage.name])
            count = math.ceil(sample if sample >= 1 else len(shards) * sample)
            chosen |= {(stage.name, shard) for shard in chance.sample(shards, min(len(shards), count))}
    return frozenset(chosen)


def _pieces(context: Context, presence: Presence) -> dict[str, list[Piece]]:
    """Published shard → the pieces of plan shards that it is made of, where all that decide it are there."""
    return shards_of_pieces(context.run) if kept_stage(context.run) in presence.complete else {}


def _check_shards(
    context: Context, report: Report, pieces: dict[str, list[Piece]], console: Console, threads: int
) -> None:
    """All shards, several at a time; each reads its own files."""
    loaded = context.run.loaded
    for manifest in (manifest for of in loaded.values() for manifest in of.values()):
        report.checked["shards"] += 1
        report.checked["files"] += len(manifest.files)
        report.checked["bytes"] += sum(described["bytes"] for described in manifest.files.values())
        report.checked["published pairs"] += manifest.counts["out"] if manifest.stage == "publish" else 0
    tasks = list(_tasks(context, pieces))
    with ThreadPoolExecutor(threads) as pool:
        checks = pool.map(_problems, tasks)
        for problems in track(checks, "verify", total=len(tasks), console=console, transient=True):
            report.problems += problems


def _tasks(context: Context, pieces: dict[str, list[Piece]]) -> Iterator[Task]:
    """A check for each plan shard, through all stages; for each published shard; and for each shard of the other stages."""
    loaded = context.run.loaded
    followed = {"plan", *context.run.between("plan", "publish")}
    for stage, shards in loaded.items():
        if stage not in followed and stage != "publish":
            yield from ((f"{stage}/{shard}", partial(check_shard, context, stage, shard)) for shard in shards)
    for shard in sorted({shard for stage in followed for shard in loaded[stage]}):
        yield f"plan shard {shard}", partial(check_plan_shard, context, shard)
    for shard in loaded["publish"]:
        yield f"{DATASET}/{shard}", partial(check_published, context, shard, pieces.get(shard))


def _problems(task: Task) -> list[str]:
    """What a check says; where it cannot go on, because a file is damaged in a way that none foresaw, that is a problem too."""
    what, check = task
    problems: list[str] = []
    try:
        problems.extend(check())
    except Exception as error:
        problems.append(f"{what}: cannot be checked further: {short(error)}")
    return problems


def _guarded(report: Report, what: str, check: Callable[[], Iterator[str]]) -> bool:
    """Adds the problems of a check; returns whether there are none."""
    try:
        problems = list(check())
    except InvalidInput as error:
        problems = [str(error)]
    except Exception as error:  # files are damaged in ways that no check foresees
        problems = [f"{what}: cannot be checked: {short(error)}"]
    report.problems += problems
    return not problems
