"""A DuckDB connection to a run: the catalog's views, whether the run lies here or on an object store."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import duckdb
import fsspec

from foundation import sql
from foundation.storage import SCHEMES, StorageError
from pipeline.inspect.catalog.write import write_catalog
from pipeline.run.manifest import RunError
from pipeline.run.names import CATALOG, CATALOG_SQL, FORMAT_FILE
from pipeline.stages.opening import check_format, read_run


@dataclass(frozen=True)
class Place:
    """Where the catalog of a run lies."""

    run: str  # the run's folder or address, with a slash at its end
    catalog: str  # of the small tables, likewise
    sql: str  # the text of catalog.sql


def connect(run: str | Path, threads: int | None = None, memory: str | None = None) -> duckdb.DuckDBPyConnection:
    """A connection in which the views of the catalog (`pipeline.inspect.catalog.views.VIEWS`) exist. Nothing is copied.

    Args:
        run: a run's folder, or its address: s3://, gs://, https:// or another that fsspec knows.
        threads: of DuckDB; by default all cores.
        memory: DuckDB's limit, such as "4GiB"; by default four fifths of the machine.

    Raises:
        RunError: there is no run, or it has no catalog and cannot get one as it is not on this machine.
    """
    spill = Path(tempfile.gettempdir()) / "zhclip-duckdb"  # by default where one stands
    connection = sql.connect(threads=threads, memory=memory, temp_directory=str(spill))
    connection.execute("set timezone = 'UTC'")
    _make_views(connection, _find(connection, run), "")
    return connection


def attach(connection: duckdb.DuckDBPyConnection, name: str, run: str | Path) -> None:
    """Puts the views of a second run beside those of the first: `NAME.pairs`, `NAME.funnel` and so on.

    Raises:
        RunError: as `connect`; or `name` is none that SQL can use.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or name in ("main", "memory", "system", "temp"):
        raise RunError(f"{name!r} cannot name a run; use small letters, digits and _, such as other={run}")
    location = _find(connection, run)
    connection.execute(f"attach ':memory:' as {name}; use {name}")
    _make_views(connection, location, f"{name}_")
    connection.execute("use memory")


def _find(connection: duckdb.DuckDBPyConnection, run: str | Path) -> Place:
    scheme = str(run).partition("://")[0] if "://" in str(run) else ""
    if scheme and scheme not in SCHEMES:
        return _remote(connection, str(run))
    try:
        return _own(connection, run)
    except StorageError:
        if not scheme:
            raise
        return _remote(connection, str(run))  # fsspec knows ways to sign in, and servers, that obstore does not


def _own(connection: duckdb.DuckDBPyConnection, folder: str | Path) -> Place:
    """A run whose manifests can be listed: its catalog is brought up to date, from manifests that were checked."""
    run = read_run(folder)
    written = write_catalog(run)
    sql.let_read(connection, run.address)
    return Place(f"{run.address}/", f"{written.address}/{CATALOG}/", written.read(CATALOG_SQL).decode())


def _remote(connection: duckdb.DuckDBPyConnection, address: str) -> Place:
    base = address.rstrip("/") + "/"
    try:
        files = fsspec.filesystem(base.split("://", 1)[0])
        text = files.cat_file(f"{base}{CATALOG_SQL}").decode()
    except FileNotFoundError:
        raise RunError(
            f"{base} has no {CATALOG_SQL}: it is no run, or an older version made it; `zhclip sql RUN` writes one where the "
            "run lies on a local disk"
        ) from None
    except ImportError as error:
        raise RunError(f"{base} cannot be read: {error}; install zhclip[cloud]") from error
    check_format(address, _text(files, f"{base}{FORMAT_FILE}"))
    sql.let_read(connection, address)
    return Place(base, f"{base}{CATALOG}/", text)


def _text(files: fsspec.AbstractFileSystem, path: str) -> str | None:
    try:
        return str(files.cat_file(path).decode())
    except FileNotFoundError:
        return None


def _make_views(connection: duckdb.DuckDBPyConnection, location: Place, prefix: str) -> None:
    """Paths are bound as values: a folder's name never becomes SQL. `prefix` keeps the variables of two runs apart."""
    for name, path in (("run", location.run), ("catalog", location.catalog)):
        connection.execute(f"set variable {prefix}{name} = {sql.literal(path)}")
    text = re.sub(r"getvariable\('(\w+)'\)", rf"getvariable('{prefix}\1')", location.sql)
    connection.execute(re.sub(r"(?m)^set variable (\w+) =", rf"set variable {prefix}\1 =", text))
