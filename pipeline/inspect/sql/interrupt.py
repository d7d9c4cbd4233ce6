"""Ctrl-C stops a query."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import duckdb

LOOK = 0.1  # seconds


def interruptible(connection: duckdb.DuckDBPyConnection, work: Callable[[], None]) -> None:
    """Does work that asks the connection, in a thread of its own; this one looks for Ctrl-C.

    DuckDB does not look while one of its threads has a long task, and polars installs a handler after which a wait
    without a time goes on.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed, and the query has stopped.
    """
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(work)
        try:
            while not asked.done():
                wait([asked], LOOK)
        except KeyboardInterrupt:
            while not asked.done():  # an interrupt between two statements meets none
                connection.interrupt()
                wait([asked], LOOK)
            raise
        asked.result()
