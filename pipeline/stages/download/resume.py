"""What a shard that is fetched again keeps of the try before: its images and the outcomes that stand.

They wait in two files in the stage's folder: `.kept/SHARD.tar` and `.kept/SHARD.parquet`. The stage then asks for the other
pairs alone and puts the new images behind the old ones.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.run.files import sync_file
from pipeline.run.folder import Run
from pipeline.run.names import KEPT
from pipeline.run.parquet import write_parquet
from pipeline.run.tar import BLOCK


def keep(run: Run, shard: str, reasons: set[str]) -> None:
    """Set aside the images of a committed shard, and its outcomes but those that failed for one of `reasons`.

    The outcomes last: without them the images do not count.
    """
    forget(run, shard)
    images, outcomes = _place(run, shard, "tar"), _place(run, shard, "parquet")
    images.parent.mkdir(exist_ok=True)
    try:
        os.link(run.path("download", f"{shard}.tar"), images)
    except OSError:  # a file system without links
        shutil.copyfile(run.path("download", f"{shard}.tar"), images)
    table = pq.read_table(run.path("download", f"{shard}.parquet"))
    again = pc.is_in(table["reason"], pa.array(sorted(reasons), pa.string()))
    write_parquet(table.filter(pc.invert(again)), outcomes.with_suffix(".writing"))
    sync_file(outcomes.with_suffix(".writing"))
    outcomes.with_suffix(".writing").replace(outcomes)


def kept(run: Run, shard: str) -> pa.Table | None:
    """The outcomes of a shard that stay, with OUTCOME_SCHEMA; None where it is fetched for the first time."""
    path = _place(run, shard, "parquet")
    return pq.read_table(path) if path.exists() else None


def join(run: Run, shard: str, before: pa.Table, now: pa.Table, images: Path) -> pa.Table:
    """Puts the images of the try before in front of those in the tar `images`; returns the outcomes of both, `now` last."""
    ends = pc.max(pc.add(before["offset"], before["length"])).as_py() or 0
    ends += -ends % BLOCK
    joined = images.with_suffix(".joined")
    shutil.copyfile(_place(run, shard, "tar"), joined)
    with joined.open("r+b") as file, images.open("rb") as new:
        file.truncate(ends)
        file.seek(ends)
        shutil.copyfileobj(new, file)
    joined.replace(images)
    moved = now.set_column(
        now.schema.get_field_index("offset"), now.schema.field("offset"), pc.add(now["offset"], ends)
    )
    return pa.concat_tables([before, moved])


def forget(run: Run, shard: str) -> None:
    """Removes what was kept, when the shard is done."""
    for ending in ("parquet", "tar"):
        _place(run, shard, ending).unlink(missing_ok=True)


def _place(run: Run, shard: str, ending: str) -> Path:
    return run.path("download", f"{KEPT}/{shard}.{ending}")
