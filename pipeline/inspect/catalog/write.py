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

from pipeline.inspect.catalog import views
from pipeline.inspect.catalog.index import funnel_table, outcomes_table, shards_table, stages_table
from pipeline.inspect.catalog.views import TABLES, catalog_sql
from pipeline.run.files import write_atomically
from pipeline.run.folder import Run
from pipeline.run.names import CATALOG, CATALOG_SQL, RECIPE_FILE
from pipeline.run.parquet import write_parquet

NOTED = ("began", "ended", "seconds", "host")  # columns of the shards that come from times/


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


def stale_parts(run: Run) -> Iterator[tuple[str, str]]:
    """(file, what is wrong) where a catalog says that it is up to date and is not what the run's manifests give.

    Times and hosts are not compared: they are for people.
    """
    try:
        text = (run.folder / CATALOG_SQL).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    state = _state(run)
    if not text.startswith(f"-- {state}\n"):
        return
    shards, tables = _content(run)
    if text != catalog_sql(state, shards):
        yield CATALOG_SQL, "is not the catalog of this run, although it says so"
    for name, expected in tables.items():
        try:
            stored = pq.read_table(run.folder / CATALOG / f"{name}.parquet")
        except (OSError, ValueError) as error:
            yield f"{CATALOG}/{name}.parquet", f"cannot be read ({error})"
            continue
        compared = [column for column in expected.column_names if column not in NOTED]
        if stored.column_names != expected.column_names or not stored.select(compared).equals(
            expected.select(compared)
        ):
            yield f"{CATALOG}/{name}.parquet", "is not what the manifests give"


def _content(run: Run) -> tuple[dict[str, set[str]], dict[str, pa.Table]]:
    """The committed shards of every stage, and the tables by name."""
    manifests = {stage: run.manifests(stage) for stage in run.stages}
    tables = (funnel_table(run), outcomes_table(run), shards_table(run, manifests), stages_table(run))
    shards = {stage: {manifest.shard for manifest in of} for stage, of in manifests.items()}
    return shards, dict(zip(TABLES, tables, strict=True))


def _write(run: Run, state: str, folder: Path) -> Path:
    shards, tables = _content(run)
    (folder / CATALOG).mkdir(exist_ok=True)
    for name, table in tables.items():
        written = folder / CATALOG / f".{name}.{hashlib.md5(state.encode()).hexdigest()}"
        write_parquet(table, written)
        written.replace(folder / CATALOG / f"{name}.parquet")
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
