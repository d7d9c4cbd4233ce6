"""DuckDB as this project uses it: the settings of a connection, and text in a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foundation.lazy import duckdb

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


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


def literal(text: str) -> str:
    """Text as a literal, quotes included: for places where a query takes no parameter."""
    return "'" + text.replace("'", "''") + "'"
