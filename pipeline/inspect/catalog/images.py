"""The stored image of a pair: where it lies in a tar of the run, and its bytes, read by range."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import duckdb
import fsspec

from pipeline.run.names import DATASET

TAR = re.compile(rf"({DATASET}|download)/\d{{6,}}(-[0-9a-f]+)?\.tar")
PLACES = f"""
    with tars as materialized (select shard, name from files where stage = 'download' and name like '%.tar')
    select key, tars.name as tar, "offset", length
    from downloads join tars using (shard) where status = 'ok' and key in (select unnest($keys))
    union all
    select key, '{DATASET}/' || tar, "offset", length from pairs where key in (select unnest($keys))
"""


@dataclass(frozen=True)
class ImagePlace:
    """Where a JPEG lies: a tar relative to the run's folder, and a range of its bytes."""

    tar: str
    offset: int
    length: int


def image_places(connection: duckdb.DuckDBPyConnection, keys: Sequence[str]) -> dict[str, ImagePlace]:
    """Key → location of its image: in the published tar, else in the downloaded one; keys without an image are left out.

    Args:
        connection: to the catalog of a run (`pipeline.inspect.catalog.connect`).
    """
    rows = connection.execute(PLACES, {"keys": list(keys)}).fetchall()
    published_last = sorted(rows, key=lambda row: row[1].startswith(f"{DATASET}/"))
    return {key: ImagePlace(*location) for key, *location in published_last}


def read_image(run: str | Path, location: ImagePlace) -> bytes:
    """The JPEG at `location`. `run` is the run's folder, or its address on an object store.

    Raises:
        FileNotFoundError: the tar is gone, or ends before the image does (download/ may be removed once a run is published).
        ValueError: `location` names no tar of a run.
    """
    if not TAR.fullmatch(location.tar):
        raise ValueError(f"{location.tar} is not a tar of a run")
    with _open(f"{str(run).rstrip('/')}/{location.tar}") as file:
        file.seek(location.offset)
        content = file.read(location.length)
    if len(content) < location.length:
        raise FileNotFoundError(f"{location.tar} ends before byte {location.offset + location.length:,}")
    return bytes(content)


def _open(path: str) -> BinaryIO:
    if "://" not in path:
        return Path(path).open("rb")
    files, name = fsspec.core.url_to_fs(path)
    return files.open(name, "rb", cache_type="none")  # of this file alone; fsspec.open would tell it to the file system
