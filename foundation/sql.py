"""DuckDB as this project uses it: the settings of a connection, and text in a query."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from foundation.errors import InvalidInput
from foundation.lazy import duckdb, fsspec

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from fsspec import AbstractFileSystem


def connect(*, threads: int | None = None, memory: str | None = None, **settings: Any) -> DuckDBPyConnection:
    """A connection to an empty database in memory, which prints no progress of its own.

    Args:
        threads: of a query; by default all cores.
        memory: the limit, such as "4GiB"; by default four fifths of the machine.
        settings: further ones, by DuckDB's names.
    """
    limits = {"threads": threads, "memory_limit": memory}
    connection = duckdb.connect(config={name: limit for name, limit in limits.items() if limit} | settings)
    connection.execute("set enable_progress_bar = false")
    return connection


def let_read(connection: DuckDBPyConnection, address: str) -> None:
    """Let queries read files at addresses of this kind; nothing is to be done for a folder.

    Raises:
        InvalidInput: the packages for it are not installed.
    """
    scheme, separator, _ = address.partition("://")
    if not separator or scheme == "file":
        return
    try:
        files = fsspec.filesystem(scheme)
    except ImportError as error:
        raise InvalidInput(f"{address} cannot be read: {error}; install zhclip[cloud]") from error
    connection.register_filesystem(_for_duckdb(files))


def _for_duckdb(files: AbstractFileSystem) -> AbstractFileSystem:
    """DuckDB asks when a file changed, which fsspec cannot tell over HTTP (files of a run never change), and leaves files to
    Python to close, which the tasks that read ahead of them in gcsfs do not survive quietly."""
    if type(files).modified is fsspec.AbstractFileSystem.modified:
        files.modified = lambda path: datetime.fromtimestamp(0, UTC)  # noqa: ARG005
    if "gs" in files.protocol:
        files.open = partial(type(files).open, files, cache_type="readahead")
    return files


def literal(text: str) -> str:
    """Text as a literal, quotes included: for places where a query takes no parameter."""
    return "'" + text.replace("'", "''") + "'"
