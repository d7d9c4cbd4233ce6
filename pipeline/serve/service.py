"""What all routes share: the service with its runs, processes and metrics, and how a form is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

import duckdb
from fastapi import HTTPException, Request

from foundation.sql import connect
from pipeline.inspect.catalog.views import TABLES
from pipeline.run.names import CATALOG, CATALOG_SQL
from pipeline.serve.access import Access
from pipeline.serve.live_run import LiveRun
from pipeline.serve.metrics import Metrics
from pipeline.serve.runs import RunIndex
from pipeline.serve.sql_child import SETTINGS, Setup
from pipeline.serve.sql_pool import Pool

MEMORY = "2GiB"  # of the queries that pages make; a visitor's SQL runs in other processes
SQL_MEMORY = 1 << 30  # bytes that DuckDB may use for a visitor's query
SQL_PROCESS_MEMORY = 3 << 30  # bytes that its process may use, DuckDB's slips included
SQL_THREADS = 2
MAX_FORM_BYTES = 100_000
MAX_FORM_FIELDS = 10


@dataclass
class Service:
    """The runs, and what answers requests about them."""

    runs: RunIndex
    access: Access
    pool: Pool = field(default_factory=Pool)
    metrics: Metrics = field(init=False)
    connection: duckdb.DuckDBPyConnection = field(init=False)

    def __post_init__(self) -> None:
        self.metrics = Metrics(self.runs)
        self.connection = connect(memory=MEMORY, python_enable_replacements=False)
        self.connection.execute(SETTINGS)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection for one request, which shares the cache of all others."""
        return self.connection.cursor()

    def close(self) -> None:
        """End the processes that answer SQL."""
        self.pool.close()
        self.connection.close()


async def form(request: Request) -> dict[str, str]:
    """Dependency of a route: the fields of a urlencoded form.

    Raises:
        HTTPException: 413 for more than MAX_FORM_BYTES, 400 for what is no form.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_FORM_BYTES:
            raise HTTPException(413, "That is more text than a form here takes.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS))
    except ValueError:
        raise HTTPException(400, "This is no form.") from None


def service(request: Request) -> Service:
    """Dependency of a route: the service."""
    state: Service = request.app.state.service
    return state


def sql_setup(live_run: LiveRun) -> Setup:
    """What a process needs to know to answer SQL about a run: its views, limits, and the files that it may read."""
    catalog = live_run.catalog()
    run = live_run.run
    files = [name for stage in run.stages for manifest in run.committed(stage).values() for name in manifest.files]
    return Setup(
        run=f"{run.folder}/",
        catalog=f"{catalog}/{CATALOG}/",
        views=(catalog / CATALOG_SQL).read_text(encoding="utf-8"),
        files=[str(run.folder / name) for name in files if name.endswith(".parquet")]
        + [str(Path(catalog, CATALOG, f"{name}.parquet")) for name in TABLES],
        memory=SQL_MEMORY,
        process_memory=SQL_PROCESS_MEMORY,
        threads=SQL_THREADS,
    )
