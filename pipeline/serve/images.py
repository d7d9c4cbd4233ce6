"""Read the image of a pair from a tar that a manifest names."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from pipeline.inspect.catalog.images import ImagePlace, read_image
from pipeline.serve.live_run import LiveRun
from pipeline.serve.pair import shard_of
from pipeline.serve.runs import inside
from pipeline.serve.segments import PLAN, PUBLISHED, Segment

RANGE = 'select "offset", length from read_parquet($index) where key = $key and length > 0'


@dataclass(frozen=True)
class ImageStore:
    """The tars of a stage, with indexes beside them; its shards are those of a segment in key order."""

    stage: str
    segment: Segment


IMAGE_STORES = (ImageStore("publish", PUBLISHED), ImageStore("download", PLAN))


def picture(connection: duckdb.DuckDBPyConnection, live_run: LiveRun, key: str) -> bytes:
    """The JPEG of a pair, from the published tars, else from the downloaded ones.

    Raises:
        FileNotFoundError: there is none, or its tar was deleted.
    """
    for tars in IMAGE_STORES:
        tar = _tar(live_run, tars, key)
        if tar:
            index = live_run.run.path(tars.stage, shard_of(live_run, tars.segment, key) or "")
            byte_range = connection.execute(RANGE, {"index": index, "key": key}).fetchone()
            if byte_range:
                inside(live_run.run.folder, tar)
                return read_image(live_run.run.folder, ImagePlace(tar, *byte_range))
    raise FileNotFoundError(f"no image of {key}")


def has_picture(live_run: LiveRun, key: str, published: bool = True) -> bool:
    """Whether there is a tar in which the image of a scored pair lies.

    Args:
        published: whether it may lie in a published one.
    """
    return any(_tar(live_run, tars, key) for tars in (IMAGE_STORES if published else IMAGE_STORES[1:]))


def _tar(live_run: LiveRun, tars: ImageStore, key: str) -> str | None:
    """The tar, relative to the run, in which a pair's image lies if it was stored and not deleted."""
    shard = shard_of(live_run, tars.segment, key)
    manifest = live_run.run.committed(tars.stage).get(shard or "")
    tar = manifest.find(".tar") if manifest else None
    return tar if tar and (live_run.run.folder / tar).exists() else None
