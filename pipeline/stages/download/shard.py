"""Download of one shard, as the pipeline calls it: a child process does it, and every input row is accounted for."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from foundation.child import python_path
from foundation.errors import WorkFailed
from pipeline.recipe.download import Download
from pipeline.run.files import sync_file
from pipeline.run.parquet import write_parquet
from pipeline.stages.download.writer import OUTCOME_SCHEMA

LOG_TAIL = 4000  # characters


class ShardFailed(WorkFailed):
    """The child process ended badly or too late; the message holds the end of its log."""


def download_shard(
    rows: pa.Table, folder: Path, config: Download, images: Mapping[str, Sequence[str]] | None = None
) -> pa.Table:
    """Download the images of one shard into `folder`.

    Example:
        >>> rows = pa.table({"key": ["0" * 32], "url": ["https://…/猫.jpg"]})
        >>> download_shard(rows, Path("try"), Download())["reason"]

    Args:
        rows: columns `key` (unique, 32 hexadecimal digits), `url` (may be null) and, where there are local images,
            `source`; others are ignored.
        folder: created; must hold no shard yet. Gets `images.tar` (members KEY.jpg, in the order in which they came),
            `images.parquet` (the answer) and `child.log`, all but the log durable.
        config: how.
        images: source → folders and zip files in which the `local:` urls of its rows are looked up. No other row gets
            to see a file.

    Returns:
        A table with `OUTCOME_SCHEMA`, one row per input row, in the input's order.

    Raises:
        ValueError: keys that are no keys, or not unique.
        ShardFailed: the child died, or took longer than `config.shard_deadline`; nothing in `folder` is to be used.
    """
    spec = order(rows, folder.resolve(), config, images)
    run_child(
        [sys.executable, "-m", "pipeline.stages.download.child", str(spec)], folder / "child.log", config.shard_deadline
    )
    return collect(rows, folder)


def order(rows: pa.Table, folder: Path, config: Download, images: Mapping[str, Sequence[str]] | None = None) -> Path:
    """What the child is to do, written to `folder`; the answer is its specification file. Raises ValueError."""
    keys = rows["key"]
    valid = pc.all(pc.match_substring_regex(keys, "^[0-9a-f]{32}$")).as_py() is not False
    if not valid or keys.null_count or pc.count_distinct(keys).as_py() < len(keys):
        raise ValueError("keys must be 32 hexadecimal digits each, and unique")
    folder.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(folder / "rows.arrow"), "wb") as file:
        table = rows.select([name for name in ("key", "url", "source") if name in rows.column_names])
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    spec = folder / "spec.json"
    places = {source: [str(Path(path).absolute()) for path in paths] for source, paths in (images or {}).items()}
    content = {"folder": str(folder), "parent": os.getpid(), "config": config.model_dump(), "images": places}
    spec.write_text(json.dumps(content))
    return spec


def run_child(command: Sequence[str], log: Path, deadline: float) -> None:
    """Run `command` in a process group of its own, its output in `log`; on any way out the whole group is gone.

    Raises:
        ShardFailed: it ended with another status than 0, or not within `deadline` seconds.
    """
    path = python_path(os.environ.get("PYTHONPATH"))
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,  # `python -m` looks for modules in the working directory first: keep strangers' out
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
        try:
            status = child.wait(deadline)
        except subprocess.TimeoutExpired as error:
            raise ShardFailed(f"not done after {deadline:g} s; the end of its log:\n{_tail(log)}") from error
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if status:
        raise ShardFailed(f"the child ended with status {status}; the end of its log:\n{_tail(log)}")


def collect(rows: pa.Table, folder: Path) -> pa.Table:
    """One outcome per row, in order, from what the child answered; rows without an answer are `lost_by_downloader`.

    Writes `images.parquet` and removes the child's scratch files.

    Raises:
        ShardFailed: the child left no answers.
    """
    answers = folder / "answered.parquet"
    if not answers.exists():
        raise ShardFailed(f"the child left no answers; the end of its log:\n{_tail(folder / 'child.log')}")
    answered = pq.read_table(answers, schema=OUTCOME_SCHEMA)
    keys = rows["key"].cast(pa.string())
    table = answered.take(pc.index_in(keys, answered["key"]))
    lost = pc.is_null(table["key"])
    for name, lacking in (
        ("key", keys),
        ("status", "failed"),
        ("reason", "lost_by_downloader"),
        ("detail", "img2dataset gave no answer for this row; see child.log"),
    ):
        column = pc.if_else(lost, lacking, table[name])
        table = table.set_column(OUTCOME_SCHEMA.get_field_index(name), OUTCOME_SCHEMA.field(name), column)
    write_parquet(table, folder / "images.parquet")
    sync_file(folder / "images.parquet")
    for scratch in ("answered.parquet", "rows.arrow", "spec.json", "00000_stats.json"):
        (folder / scratch).unlink(missing_ok=True)
    return table.combine_chunks()


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL:] if log.exists() else "(no log)"
