"""Writes the catalog of a run: `catalog.sql`, and small tables beside it."""

from __future__ import annotations

import errno
import hashlib
import inspect
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from foundation.storage import Disk, Storage, StorageError
from pipeline.inspect.catalog import index, views
from pipeline.inspect.catalog.index import files_table, funnel_table, outcomes_table, shards_table, stages_table
from pipeline.inspect.catalog.views import catalog_sql
from pipeline.run.folder import Run
from pipeline.run.names import CATALOG, CATALOG_SQL, DATASET, DATASET_MANIFEST, LAYOUT_FILE, RECIPE_FILE
from pipeline.run.parquet import write_parquet

NOTED = ("began", "ended", "seconds", "host")  # columns of the shards that come from times/


def write_catalog(run: Run) -> Storage:
    """Brings `RUN/catalog.sql` and `RUN/catalog/*.parquet` up to date; returns the storage that holds them.

    The manifests are read only if something was committed since the last time. A run that cannot be written to gets a
    catalog in a temporary folder.
    """
    state = _state(run)
    try:
        if run.storage.read(CATALOG_SQL).startswith(f"-- {state}\n".encode()):
            return run.storage
    except FileNotFoundError:
        pass
    try:
        return _write(run, state, run.storage)
    except StorageError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return _write(run, state, Disk(Path(tempfile.mkdtemp(prefix="zhclip-catalog-"))))


def _write(run: Run, state: str, storage: Storage) -> Storage:
    stages, tables = _content(run)
    with tempfile.TemporaryDirectory(prefix="zhclip-catalog-") as folder:
        for name, table in tables.items():
            written = Path(folder, f"{name}.parquet")
            write_parquet(table, written)
            storage.put(f"{CATALOG}/{name}.parquet", written)
    storage.put(CATALOG_SQL, catalog_sql(state, stages).encode())
    return storage


def _content(run: Run) -> tuple[list[str], dict[str, pa.Table]]:
    """The stages whose files can be read, and the tables by name."""
    manifests = {stage: run.manifests(stage) for stage in run.stages}
    readable = {stage: of for stage, of in manifests.items() if of and run.is_readable(stage)}
    tables = {
        "files": files_table(readable),
        "funnel": funnel_table(run),
        "outcomes": outcomes_table(run),
        "shards": shards_table(run, manifests),
        "stages": stages_table(run),
    }
    return list(readable), tables


def stale_parts(run: Run) -> Iterator[tuple[str, str]]:
    """(file, what is wrong) where a catalog says that it is up to date and is not what the run's manifests give.

    Times and hosts are not compared: they are for people.
    """
    try:
        text = run.storage.read(CATALOG_SQL).decode(errors="replace")
    except FileNotFoundError:
        return
    state = _state(run)
    if not text.startswith(f"-- {state}\n"):
        return
    stages, tables = _content(run)
    if text != catalog_sql(state, stages):
        yield CATALOG_SQL, "is not the catalog of this run, although it says so"
    for name, expected in tables.items():
        try:
            with run.storage.open(f"{CATALOG}/{name}.parquet") as file:
                stored = pq.read_table(file)
        except (OSError, ValueError) as error:
            yield f"{CATALOG}/{name}.parquet", f"cannot be read ({error})"
            continue
        compared = [column for column in expected.column_names if column not in NOTED]
        if stored.column_names != expected.column_names or not stored.select(compared).equals(
            expected.select(compared)
        ):
            yield f"{CATALOG}/{name}.parquet", "is not what the manifests give"


def _state(run: Run) -> str:
    """Changes whenever a shard is committed or discarded, and with the recipe and the views themselves."""
    digest = hashlib.sha256(run.storage.read(RECIPE_FILE))
    for module in (views, index):  # another version of zhclip may have other views and tables
        digest.update(inspect.getsource(module).encode())
    for stage in run.stages:
        for entry in run.manifest_entries(stage).values():
            digest.update(f"{entry.name} {entry.version}\n".encode())
    digest.update(f"{run.holds(LAYOUT_FILE)} {run.holds(f'{DATASET}/{DATASET_MANIFEST}')}".encode())
    return digest.hexdigest()
