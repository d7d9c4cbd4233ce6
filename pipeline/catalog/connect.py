"""A DuckDB connection to a run: the catalog's views, whether the run lies here or on an object store."""

from __future__ import annotations

from pathlib import Path

import duckdb
import fsspec

from pipeline.catalog.write import write_catalog
from pipeline.runfolder import RunError, read_run


def connect(run: str | Path, threads: int | None = None, memory: str | None = None) -> duckdb.DuckDBPyConnection:
    """A connection in which the views of the catalog (`pipeline.catalog.views.VIEWS`) exist. Nothing is copied.

    Args:
        run: a run's folder, or its address: s3://, gs://, https:// or another that fsspec knows.
        threads: of DuckDB; by default all cores.
        memory: DuckDB's limit, such as "4GiB"; by default four fifths of the machine.

    Raises:
        RunError: there is no run, or it has no catalog and cannot get one as it is not on this machine.
    """
    connection = duckdb.connect()
    connection.execute("set enable_progress_bar = false; set timezone = 'UTC'")
    if threads:
        connection.execute(f"set threads = {int(threads)}")
    if memory:
        connection.execute("set memory_limit = ?", [memory])
    remote = "://" in str(run)
    return _remote(connection, str(run)) if remote else _local(connection, Path(run))


def _local(connection: duckdb.DuckDBPyConnection, folder: Path) -> duckdb.DuckDBPyConnection:
    run = read_run(folder)
    written = write_catalog(run)
    _run_catalog(
        connection, f"{run.folder}/", (written / "catalog.sql").read_text(encoding="utf-8"), f"{written}/catalog/"
    )
    return connection


def _remote(connection: duckdb.DuckDBPyConnection, address: str) -> duckdb.DuckDBPyConnection:
    base = address.rstrip("/") + "/"
    try:
        files = fsspec.filesystem(base.split("://", 1)[0])
        text = files.cat_file(f"{base}catalog.sql").decode()
    except FileNotFoundError:
        raise RunError(
            f"{base} has no catalog.sql: it is no run, or an older version made it; `zhclip sql RUN` writes one where the "
            "run lies on a local disk"
        ) from None
    except ImportError as error:
        raise RunError(f"{base} cannot be read: {error}; install zhclip[cloud]") from error
    connection.register_filesystem(files)
    _run_catalog(connection, base, text, f"{base}catalog/")
    return connection


def _run_catalog(connection: duckdb.DuckDBPyConnection, run: str, text: str, catalog: str) -> None:
    """Paths are bound as values: a folder's name never becomes SQL."""
    for name, found in (("run", run), ("catalog", catalog)):
        quoted = found.replace("'", "''")
        connection.execute(f"set variable {name} = '{quoted}'")
    connection.execute(text)
