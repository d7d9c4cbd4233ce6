"""The child process that downloads one shard: `python -m pipeline.stages.download.child SPEC.json`.

The specification holds `folder` (with `rows.arrow` in it), `parent` (a process id), `config` and
`images` (source → folders and zip files). See `shard.py`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import cv2
import pyarrow as pa

from pipeline.recipe.download import Download
from pipeline.stages.download.engine import Finder, run
from pipeline.stages.download.local import LocalImages
from pipeline.stages.download.writer import ShardWriter

PARENT_POLL = 0.5  # seconds


def main(specification: Path, writer: type[ShardWriter] = ShardWriter) -> None:
    """Download the shard of a specification file; whatever goes wrong with the shard as a whole is raised."""
    print(f"download child {os.getpid()}", flush=True)
    spec = json.loads(specification.read_text(encoding="utf-8"))
    threading.Thread(target=_die_with, args=(spec["parent"],), daemon=True).start()
    cv2.setNumThreads(1)  # a worker runs one child per core
    folder = Path(spec["folder"])
    with pa.OSFile(str(folder / "rows.arrow")) as file:
        rows = pa.ipc.open_file(file).read_all()
    config = Download(**spec["config"])
    sources = rows["source"].to_pylist() if "source" in rows.column_names else [None] * rows.num_rows
    finder = Finder(config, LocalImages(spec["images"], config.max_bytes), sources)
    run(folder / "rows.arrow", folder, writer(folder, rows["key"].to_pylist()), config, finder)


def _die_with(parent: int) -> None:
    """End this process group when the parent has gone, however it went (polled: this works on every Unix)."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
