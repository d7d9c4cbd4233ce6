"""One stage as a Beam pipeline: items in, files out. Only names and ranges travel through Beam, never rows or images."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from foundation.errors import WorkFailed
from foundation.log import configure_worker, log_item
from foundation.storage import StorageError
from foundation.text import counted
from pipeline.run.folder import Item, Run
from pipeline.run.names import FAILURES
from pipeline.runners.flink import quiet_workers
from pipeline.stages.registry import STAGES

MANY_FAILURES = 8  # of one stage: whatever is wrong is wrong for all, so the remaining items are left alone


class StageFailed(WorkFailed):
    """Items of a stage that could not be done; all others are committed."""


class DoItem(beam.DoFn):
    """Does one item of a stage. An error is written down and stops nothing else."""

    def __init__(self, run: Run, stage: str) -> None:
        self.run, self.stage = run, stage

    def setup(self) -> None:
        """Once per worker. Arrow's default pool (mimalloc) gives memory back and takes it again for every batch of this
        size: with the C library's, the metadata pass is 1.15 times as fast."""
        configure_worker()
        pa.set_memory_pool(pa.system_memory_pool())

    def process(self, item: Item) -> Iterator[str]:
        """Yields the item's name when it is done."""
        if len(failures(self.run, self.stage)) + len(_unwritten(self.run, self.stage)) >= MANY_FAILURES:
            return
        try:
            self.run.check_lease()  # what cannot be committed need not be made
            with log_item(self.run.name, self.stage, item.name) as log:
                STAGES[self.stage].process(self.run, item)
                log.fields.update(_counts(self.run, self.stage, item))
            yield item.name
        except Exception:  # whatever it is, the other items go on and the driver reports it
            _report(self.run, self.stage, item, traceback.format_exc())


def run_items(run: Run, stage: str, items: Sequence[Item], workers: int, beam_options: Sequence[str] = ()) -> None:
    """Does all items of a stage on the runner that `beam_options` name, by default in this process with `workers` threads.

    Raises:
        StageFailed: an item failed; the message holds the last lines of the first errors.
    """
    for old in list(run.storage.list(f"{FAILURES}/{stage}/")):
        run.storage.remove(old.name)
    _unwritten(run, stage).clear()
    if "--runner=FlinkRunner" in beam_options:
        quiet_workers()
    with beam.Pipeline(runner=_runner(beam_options), options=_options(workers, beam_options)) as pipeline:
        _ = pipeline | beam.Create(list(items)) | beam.Reshuffle() | beam.ParDo(DoItem(run, stage))
    failed, unwritten = failures(run, stage), _unwritten(run, stage)
    if failed or unwritten:
        raise StageFailed(_describe(run, stage, failed, unwritten))
    if left := STAGES[stage].pending(run):
        raise StageFailed(
            f"{counted(len(left), 'item')} of the {stage} stage, the first of them {left[0].name}, are not done, and no worker "
            "could write why: see the workers' logs, then run the same command again"
        )


_UNWRITTEN: dict[str, dict[str, str]] = {}
"""Errors of items that this process could not write to the run, by folder and item: its disk may be full."""


def _report(run: Run, stage: str, item: Item, error: str) -> None:
    try:
        run.storage.put(f"{_folder(run, stage)}{item.name}.txt", error.encode())
    except StorageError as other:
        _unwritten(run, stage)[item.name] = f"{_last_line(error)} (which could not be written: {other})"


def _unwritten(run: Run, stage: str) -> dict[str, str]:
    return _UNWRITTEN.setdefault(f"{run.address}/{_folder(run, stage)}", {})


def _last_line(error: str) -> str:
    return error.strip().splitlines()[-1]


def _counts(run: Run, stage: str, item: Item) -> dict[str, int]:
    """The numbers of rows that the item's manifest holds; none where an item is not one shard."""
    manifest = run.manifest(stage, item.name)
    return {name: rows for name, rows in manifest.counts.items() if isinstance(rows, int)} if manifest else {}


def failures(run: Run, stage: str) -> list[str]:
    """Names of the files that hold the errors of a stage's items, one each, of the work under this run's lease."""
    return [entry.name for entry in run.storage.list(_folder(run, stage))]


def _folder(run: Run, stage: str) -> str:
    return f"{FAILURES}/{stage}/{run.epoch or 0:06d}/"


def _runner(beam_options: Sequence[str]) -> beam.runners.PipelineRunner | None:
    """Named by the options, or Beam's embedded one (its `DirectRunner` would pick an engine by what it finds)."""
    if any(option.startswith("--runner") for option in beam_options):
        return None
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    return FnApiRunner()


def _options(workers: int, beam_options: Sequence[str]) -> PipelineOptions:
    embedded = ["--direct_running_mode=multi_threading", f"--direct_num_workers={workers}"]
    return PipelineOptions([*([] if any(o.startswith("--runner") for o in beam_options) else embedded), *beam_options])


def _describe(run: Run, stage: str, failed: list[str], unwritten: dict[str, str]) -> str:
    lines = [
        f"{counted(len(failed) + len(unwritten), 'item')} of the {stage} stage failed; all others are committed.",
        *(f"  {item}: {error}" for item, error in sorted(unwritten.items())[:2]),
    ]
    for name in failed[:3]:
        last = _last_line(run.storage.read(name).decode())
        lines.append(f"  {name.rpartition('/')[2].removesuffix('.txt')}: {last}")
    where = f"Full errors: {run.address}/{_folder(run, stage)}. " if failed else ""
    lines.append(f"{where}Run the same command again to continue.")
    return "\n".join(lines)
