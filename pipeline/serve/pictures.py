"""The image of a pair, from a tar that a manifest names."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from pipeline.inspect.catalog.images import ImagePlace, read_image
from pipeline.serve.pair import shard_of
from pipeline.serve.runs import inside
from pipeline.serve.segments import PLAN, PUBLISHED, Segment
from pipeline.serve.watched import Watch

RANGE = 'select "offset", length from read_parquet($index) where key = $key and length > 0'


@dataclass(frozen=True)
class Tars:
    """Where a stage keeps images: tars with indexes beside them, whose shards are those of a segment in key order."""

    stage: str
    segment: Segment


PLACES = (Tars("publish", PUBLISHED), Tars("download", PLAN))


def picture(connection: duckdb.DuckDBPyConnection, watch: Watch, key: str) -> bytes:
    """The JPEG of a pair, as it is published, else as it was downloaded.

    Raises:
        FileNotFoundError: there is none, or its tar was deleted.
    """
    for tars in PLACES:
        tar = _tar(watch, tars, key)
        if tar:
            index = str((watch.run.folder / tar).with_suffix(".parquet"))
            found = connection.execute(RANGE, {"index": index, "key": key}).fetchone()
            if found:
                inside(watch.run.folder, tar)
                return read_image(watch.run.folder, ImagePlace(tar, *found))
    raise FileNotFoundError(f"no image of {key}")


def has_picture(watch: Watch, key: str, published: bool = True) -> bool:
    """Whether there is a tar in which the image of a scored pair lies.

    Args:
        published: whether it may lie in a published one.
    """
    return any(_tar(watch, tars, key) for tars in (PLACES if published else PLACES[1:]))


def _tar(watch: Watch, tars: Tars, key: str) -> str | None:
    """The tar, relative to the run, in which a pair's image lies if it was stored and not deleted."""
    shard = shard_of(watch, tars.segment, key)
    manifest = watch.run.committed(tars.stage).get(shard or "")
    tar = f"{watch.run.stages[tars.stage].folder}/{shard}.tar"
    return tar if manifest and tar in manifest.files and (watch.run.folder / tar).exists() else None
