"""The command: python -m benchmarks.big_run FOLDER --rows 20000000."""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

import benchmarks.big_run
from foundation.log import quiet_libraries

quiet_libraries()

from benchmarks.big_run.metadata import Metadata  # noqa: E402
from benchmarks.big_run.pictures import Drawings  # noqa: E402
from benchmarks.big_run.times import rewrite_times  # noqa: E402
from benchmarks.big_run.work import Work  # noqa: E402
from pipeline.inspect.catalog import write_catalog  # noqa: E402
from pipeline.inspect.funnel import source_funnels  # noqa: E402
from pipeline.recipe import Recipe  # noqa: E402
from pipeline.run.files import write_atomically  # noqa: E402
from pipeline.run.folder import Run, RunError  # noqa: E402
from pipeline.runners.beam import StageFailed  # noqa: E402
from pipeline.runners.driver import run_stages  # noqa: E402
from pipeline.stages.base import Stage  # noqa: E402
from pipeline.stages.opening import open_run  # noqa: E402
from pipeline.stages.registry import STAGES  # noqa: E402

MADE_AS = "generated.json"  # in the run folder: the Size
DUPLICATE_DISTANCE = 8  # bits; the search takes longer the further it looks, and copies here are nearer than that


@dataclass(frozen=True)
class Size:
    """What decides the run."""

    rows: int = 20_000_000
    seed: int = 0
    images: int = 6
    shard_size: int = 10_000


def generate(folder: Path, size: Size, workers: int, console: Console, real_times: bool = False) -> Run:
    """The run in `folder`: a new one, or the one that was begun there, completed.

    Raises:
        RunError: the folder holds something else, or a run of another size.
    """
    folder = folder.absolute()
    metadata, drawings = Metadata(folder / "metadata", size.rows, size.seed), Drawings(folder / "drawings")
    _check(folder, size)
    run, _ = open_run(folder, recipe(size, metadata, drawings))
    write_atomically(folder / MADE_AS, json.dumps(asdict(size)))
    watch = Watch(console)
    drawings.draw(size.seed)
    if not (folder / "layout.json").exists() or STAGES["plan"].pending(run):
        metadata.write()
        watch.note("metadata and drawings")
    run_stages(run, ["plan"], workers, [], watch.begins)
    shutil.rmtree(metadata.folder, ignore_errors=True)
    with _stages_of(Work(run, size.seed, size.images, drawings)):
        run_stages(run, ["download", "score", "select", "publish"], workers, [], watch.begins)
    if not real_times:
        rewrite_times(run, size.seed)
        (folder / "catalog.sql").unlink()  # or the catalog would not see that times have changed
        write_catalog(run)
    watch.note("")
    return run


def recipe(size: Size, metadata: Metadata, drawings: Drawings) -> Recipe:
    """The run's recipe."""
    return Recipe.model_validate(
        {
            "name": f"generated-{size.rows}",
            "sources": metadata.recipe_sources(),
            "plan": {"shard_size": size.shard_size},
            "download": {"jpeg_quality": 80},  # of what is stored: half the bytes
            "images": {
                "duplicates": {"distance": DUPLICATE_DISTANCE},
                "test_sets": {"drawings": {"path": str(drawings.evaluation_set)}},
            },
            "publish": {"pairs_per_shard": size.shard_size},
        }
    )


def _check(folder: Path, size: Size) -> None:
    path = folder / MADE_AS
    if path.exists() and (begun := Size(**json.loads(path.read_text(encoding="utf-8")))) != size:
        raise RunError(f"{folder} was begun as {begun}, not as {size}: name another folder")


@contextmanager
def _stages_of(work: Work) -> Iterator[None]:
    """Puts generated work in the place of three stages' own; the driver does the rest, from what is pending to the card."""
    names = ("download", "score", "publish")
    for name in names:
        vars(STAGES[name])["process"] = getattr(work, name)
    try:
        yield
    finally:
        for name in names:
            del vars(STAGES[name])["process"]


class Watch:
    """Prints how long each stage took."""

    def __init__(self, console: Console) -> None:
        self._console, self._begun, self._stage = console, time.perf_counter(), ""

    def begins(self, stage: Stage, run: Run, shards: list[str]) -> None:  # noqa: ARG002
        """As the driver calls it, before a stage."""
        self.note(self._stage)
        self._stage = f"{stage.label}, {len(shards):,} shards"

    def note(self, what: str) -> None:
        """What was done since the last call."""
        now = time.perf_counter()
        if what or self._stage:
            self._console.print(f"{now - self._begun:7.1f} s  {what or self._stage}", highlight=False)
        self._begun, self._stage = now, ""


def main() -> int:
    """The exit code: 1 where a stage failed, 2 where the folder cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.big_run",
        description=benchmarks.big_run.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=Size.rows, help="of metadata (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=Size.seed, help="default: %(default)s")
    parser.add_argument("--images", type=int, default=Size.images, help="plan shards with a tar (default: %(default)s)")
    parser.add_argument("--shard-size", type=int, default=Size.shard_size, help="pairs (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="threads (default: one for each core)")
    parser.add_argument("--real-times", action="store_true", help="keep the times at which shards were generated")
    given = parser.parse_args()
    console, begun = Console(), time.perf_counter()
    try:
        size = Size(given.rows, given.seed, given.images, given.shard_size)
        run = generate(given.folder, size, given.workers, console, given.real_times)
    except (RunError, StageFailed) as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 2 if isinstance(error, RunError) else 1
    published = sum(funnel.outcomes["published"] for funnel in source_funnels(run))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = time.perf_counter() - begun
    console.print(
        f"{seconds:7.1f} s  {size.rows:,} rows, {published:,} published, peak {peak:,.0f} MiB", highlight=False
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
