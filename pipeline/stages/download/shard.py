"""Download of one shard, as the pipeline calls it: child processes do it, and every input row is accounted for.

A child that dies is followed by another one, which is asked for what has no answer yet, with the rows that the dead one had
in hand last. So a row that ends the process (a picture that crashes a decoder) is the only one without an answer in the
end, and has the reason `downloader_died`. Whose fault a death is, its child tells:

- it never became ready for a row, or ended with MACHINE_FAULT (an exception outside of all rows: a full disk, no more
  threads, a missing package): the machine's. Nothing is said about any row; after the last try ShardFailed is raised.
- anything else (a signal, an exit in a library's code) happened with rows in hand and may be their doing: after the last
  try they are given up, also where no row at all was answered, or a shard of one bad row would fail for ever. A machine
  that kills every child in this way (too little memory) meets `limits.download_failed_share`.
"""

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

from foundation.child import python_path
from foundation.errors import WorkFailed
from pipeline.recipe.download import Download
from pipeline.run.files import sync_file
from pipeline.run.parquet import write_parquet
from pipeline.run.tar import BLOCK, TarWriter
from pipeline.sources.columns import to_text
from pipeline.stages.download.guard import Deadline
from pipeline.stages.download.journal import JOURNAL, Answers, read_notes
from pipeline.stages.download.writer import OUTCOME_SCHEMA

CHILD = (sys.executable, "-m", "pipeline.stages.download.child")
GRACE = 300.0  # seconds after the deadline for resizing what came; a child that is not done by then hangs
LOG_TAIL = 4000  # characters


class ShardFailed(WorkFailed):
    """This machine cannot download; the message holds the end of the child's log, and its last line the cause."""


def download_shard(
    rows: pa.Table,
    folder: Path,
    config: Download,
    images: Mapping[str, Sequence[str]] | None = None,
    attempts: int = 1,
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
        config: how. Its `shard_deadline` bounds all children together.
        images: source → folders and zip files in which the `local:` urls of its rows are looked up. No other row gets
            to see a file.
        attempts: children that may die one after the other without an answer more.

    Returns:
        A table with `OUTCOME_SCHEMA`, one row per input row, in the input's order.

    Raises:
        ValueError: keys that are no keys, or not unique.
        ShardFailed: the last of these children died of the machine; nothing in `folder` is to be used.
    """
    _check_keys(rows["key"])
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    keys, answers = rows["key"].to_pylist(), Answers()
    answers.fail(_not_utf8(rows), "url_malformed", "not UTF-8")
    deadline, fruitless = Deadline(config.shard_deadline), 0
    while (left := answers.left(keys)) and (seconds := deadline.left()) > 0 and fruitless < attempts:
        suspects = answers.suspects(left)
        # In turn with all others, and one by one, so that a death names its row.
        alone = suspects and (fruitless % 2 or len(suspects) == len(left))
        asked = suspects if alone else left
        table = rows.take(pc.index_in(pa.array(asked, pa.string()), rows["key"]))
        spec = order(table, folder, config.model_copy(update={"threads": 1}) if alone else config, images, seconds)
        status = run_child([*CHILD, str(spec)], folder / "child.log", seconds + GRACE)
        notes = read_notes(folder / JOURNAL)
        answers.take(notes, status)
        if status == 0 and not answers.machine_fault:
            answers.fail(asked, "lost_by_downloader", "img2dataset gave no answer for this row; see child.log")
        fruitless = 0 if notes.answers else fruitless + 1
        _cut_tar(folder / "images.tar", answers)
    if left and answers.machine_fault:
        raise ShardFailed(_cause(folder / "child.log", answers.end))
    if fruitless < attempts:  # then time is over
        answers.fail([answers.in_resizer], "downloader_died")
        answers.fail(left, "shard_deadline", f"download.shard_deadline ({config.shard_deadline:g} s) was over")
    answers.fail(left, "downloader_died")
    TarWriter(folder / "images.tar", append=True).close()
    return _collect(keys, answers, folder)


def _check_keys(keys: pa.ChunkedArray) -> None:
    valid = pc.all(pc.match_substring_regex(keys, "^[0-9a-f]{32}$")).as_py() is not False
    if not valid or keys.null_count or pc.count_distinct(keys).as_py() < len(keys):
        raise ValueError("keys must be 32 hexadecimal digits each, and unique")


def _not_utf8(rows: pa.Table) -> list[str]:
    """Keys of rows whose url is no text: Parquet files may hold any bytes, and readers take them as they are."""
    content = rows["url"].cast(pa.binary())
    sound = pc.fill_null(pc.equal(content, to_text(content).cast(pa.binary())), True)
    return rows["key"].filter(pc.invert(sound)).to_pylist()


def order(
    rows: pa.Table, folder: Path, config: Download, images: Mapping[str, Sequence[str]] | None, seconds: float
) -> Path:
    """What a child is to do by a deadline, written to `folder`; the answer is its specification file."""
    with pa.OSFile(str(folder / "rows.arrow"), "wb") as file:
        table = rows.select([name for name in ("key", "url", "source") if name in rows.column_names])
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    spec = folder / "spec.json"
    places = {source: [str(Path(path).absolute()) for path in paths] for source, paths in (images or {}).items()}
    content = {"folder": str(folder), "parent": os.getpid(), "seconds": seconds, "images": places}
    spec.write_text(json.dumps({**content, "config": config.model_dump()}))
    return spec


def run_child(command: Sequence[str], log: Path, longest: float) -> int | None:
    """Run `command` in a process group of its own, its output behind that of others in `log`; on any way out the whole
    group is gone. Returns its status (as of `subprocess`), or None where it was killed after `longest` seconds."""
    path = python_path(os.environ.get("PYTHONPATH"))
    with log.open("ab") as output:
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
            return child.wait(longest)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _cut_tar(images: Path, answers: Answers) -> None:
    """Between two children: no journal is left, and in the tar nothing behind the last image that has an answer."""
    ends = [row["offset"] + row["length"] for row in answers.by_key.values() if "offset" in row]
    end = max(ends, default=0)
    if images.exists():
        os.truncate(images, end + -end % BLOCK)
    (images.parent / JOURNAL).unlink(missing_ok=True)


def _collect(keys: Sequence[str], answers: Answers, folder: Path) -> pa.Table:
    """One outcome per row, in order, also as `images.parquet`; the child's scratch files go."""
    table = pa.Table.from_pylist([answers.by_key[key] for key in keys], OUTCOME_SCHEMA)
    write_parquet(table, folder / "images.parquet")
    sync_file(folder / "images.parquet")
    for scratch in ("rows.arrow", "spec.json", "00000_stats.json"):
        (folder / scratch).unlink(missing_ok=True)
    return table


def _cause(log: Path, end: str) -> str:
    """The end of a log, and in a last line, which is all that a summary shows, how it ended."""
    lines = log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL:].strip().splitlines()
    last = lines[-1] if lines else "its log is empty"
    return "\n".join(["the end of the log:", *lines, f"the download process {end}: {last}; mend that and run it again"])
