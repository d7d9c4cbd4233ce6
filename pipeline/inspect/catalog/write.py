"""Writes the catalog of a run: `catalog.sql`, and small tables beside it."""

from __future__ import annotations

import errno
import hashlib
import inspect
import tempfile
from pathlib import Path

from pipeline.inspect.catalog import views
from pipeline.inspect.catalog.index import funnel_table, outcomes_table, shards_table, stages_table
from pipeline.inspect.catalog.views import TABLES, catalog_sql
from pipeline.run.files import write_atomically
from pipeline.run.folder import Run
from pipeline.run.names import CATALOG, CATALOG_SQL, RECIPE_FILE
from pipeline.run.parquet import write_parquet


def write_catalog(run: Run) -> Path:
    """Brings `RUN/catalog.sql` and `RUN/catalog/*.parquet` up to date; returns the folder that holds them.

    The manifests are read only if something was committed since the last time. A run folder that cannot be written gets a
    catalog in a temporary folder.
    """
    state = _state(run)
    path = run.folder / CATALOG_SQL
    if path.exists() and path.read_text(encoding="utf-8").startswith(f"-- {state}\n"):
        return run.folder
    try:
        return _write(run, state, run.folder)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return _write(run, state, Path(tempfile.mkdtemp(prefix="zhclip-catalog-")))


def _write(run: Run, state: str, folder: Path) -> Path:
    manifests = {stage: run.manifests(stage) for stage in run.stages}
    tables = zip(
        TABLES, (funnel_table(run), outcomes_table(run), shards_table(run, manifests), stages_table(run)), strict=True
    )
    (folder / CATALOG).mkdir(exist_ok=True)
    for name, table in tables:
        written = folder / CATALOG / f".{name}.{hashlib.md5(state.encode()).hexdigest()}"
        write_parquet(table, written)
        written.replace(folder / CATALOG / f"{name}.parquet")
    shards = {stage: {manifest.shard for manifest in of} for stage, of in manifests.items()}
    write_atomically(folder / CATALOG_SQL, catalog_sql(state, shards))
    return folder


def _state(run: Run) -> str:
    """Changes whenever a shard is committed or discarded, and with the recipe and the views themselves."""
    digest = hashlib.sha256((run.folder / RECIPE_FILE).read_bytes())
    digest.update(inspect.getsource(views).encode())  # another version of zhclip may have other views
    for stage in run.stages:
        folder = run.path(stage, "")
        digest.update(f"{stage} {folder.stat().st_mtime_ns if folder.exists() else 0}\n".encode())
    return digest.hexdigest()
