"""The child process that downloads one shard: `python -m pipeline.stages.download.child SPEC.json`.

The specification holds `folder` (with `rows.arrow` in it), `parent` (a process id), `config`, `seconds` (until the shard's
deadline) and `images` (source → folders and zip files). See `shard.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from foundation.failure import Failure
from pipeline.recipe.download import Download
from pipeline.stages.download.engine import Finder, load_downloader, run
from pipeline.stages.download.guard import Deadline
from pipeline.stages.download.journal import JOURNAL, MACHINE_FAULT, Journal
from pipeline.stages.download.local import LocalImages
from pipeline.stages.download.resize import resize
from pipeline.stages.download.writer import ShardWriter

PARENT_POLL = 0.5  # seconds


def main(specification: Path, writer: type[ShardWriter] = ShardWriter) -> None:
    """Download the shard of a specification file. What goes wrong outside of all rows ends the process with
    MACHINE_FAULT, or before it is ready for the first one."""
    try:
        _download(json.loads(specification.read_text(encoding="utf-8")), writer)
    except (OSError, ImportError, MemoryError, RuntimeError):  # RuntimeError: the system gives no more threads
        traceback.print_exc()
        sys.exit(MACHINE_FAULT)


def _download(spec: dict[str, Any], writer: type[ShardWriter]) -> None:
    print(f"download child {os.getpid()}", flush=True)
    deadline = Deadline(spec["seconds"])
    threading.Thread(target=_die_with, args=(spec["parent"],), daemon=True).start()
    cv2.setNumThreads(1)  # a worker runs one child per core
    folder, config = Path(spec["folder"]), Download(**spec["config"])
    images = LocalImages(spec["images"], config.max_bytes)
    load_downloader()
    _rehearse(config)
    journal = Journal(folder / JOURNAL)
    journal.note("ready")  # from here on, a death may be a row's doing
    journal.close()
    with pa.OSFile(str(folder / "rows.arrow")) as file:
        rows = pa.ipc.open_file(file).read_all()
    sources = rows["source"].to_pylist() if "source" in rows.column_names else [None] * rows.num_rows
    shard_writer = writer(folder, rows["key"].to_pylist())
    run(folder / "rows.arrow", folder, shard_writer, config, Finder(config, images, sources, deadline))


def _rehearse(config: Download) -> None:
    """Resize a picture of its own: a library that cannot work on this machine at all is to show it before any row."""
    written, picture = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))
    with contextlib.suppress(Failure):  # of a recipe that takes no picture of this size
        resize(picture.tobytes() if written else b"", config)


def _die_with(parent: int) -> None:
    """End this process group when the parent has gone, however it went (polled: this works on every Unix)."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
