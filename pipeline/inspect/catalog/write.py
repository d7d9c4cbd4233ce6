"""Writes the catalog of a run: `catalog.sql`, and small tables beside it."""

from __future__ import annotations

import errno
import hashlib
import inspect
import tempfile
from pathlib import Path

from foundation.storage import Disk, Storage, StorageError
from pipeline.inspect.catalog import views
from pipeline.inspect.catalog.index import files_table, funnel_table, outcomes_table, shards_table, stages_table
from pipeline.inspect.catalog.views import catalog_sql
from pipeline.run.folder import Run
from pipeline.run.names import CATALOG, CATALOG_SQL, DATASET, DATASET_MANIFEST, LAYOUT_FILE, RECIPE_FILE
from pipeline.run.parquet import write_parquet


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
    manifests = {stage: run.readable(stage) for stage in run.stages}
    tables = {
        "files": files_table(manifests),
        "funnel": funnel_table(run),
        "outcomes": outcomes_table(run),
        "shards": shards_table(run, {stage: run.manifests(stage) for stage in run.stages}),
        "stages": stages_table(run),
    }
    with tempfile.TemporaryDirectory(prefix="zhclip-catalog-") as folder:
        for name, table in tables.items():
            written = Path(folder, f"{name}.parquet")
            write_parquet(table, written)
            storage.put(f"{CATALOG}/{name}.parquet", written)
    storage.put(CATALOG_SQL, catalog_sql(state, [stage for stage, of in manifests.items() if of]).encode())
    return storage


def _state(run: Run) -> str:
    """Changes whenever a shard is committed or discarded, and with the recipe and the views themselves."""
    digest = hashlib.sha256(run.storage.read(RECIPE_FILE))
    digest.update(inspect.getsource(views).encode())  # another version of zhclip may have other views
    for stage in run.stages:
        for entry in run.manifest_entries(stage):
            digest.update(f"{entry.name} {entry.version}\n".encode())
    digest.update(f"{run.holds(LAYOUT_FILE)} {run.holds(f'{DATASET}/{DATASET_MANIFEST}')}".encode())
    return digest.hexdigest()
