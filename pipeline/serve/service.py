"""What all routes share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import duckdb
from fastapi import Request

from pipeline.inspect.catalog.views import TABLES
from pipeline.serve.guard import Access
from pipeline.serve.metrics import Metrics
from pipeline.serve.runs import Shelf
from pipeline.serve.sql_child import SETTINGS, Setup
from pipeline.serve.sql_pool import Pool
from pipeline.serve.watched import Watch

MEMORY = "2GiB"  # of the queries of this service's own; a visitor's SQL runs elsewhere
SQL_MEMORY = 1 << 30  # bytes that DuckDB may use for a visitor's query
SQL_PROCESS_MEMORY = 3 << 30  # bytes that its process may use, DuckDB's slips included
SQL_THREADS = 2


@dataclass
class Service:
    """The runs, and what answers questions about them."""

    shelf: Shelf
    access: Access
    pool: Pool = field(default_factory=Pool)
    metrics: Metrics = field(init=False)
    connection: duckdb.DuckDBPyConnection = field(init=False)

    def __post_init__(self) -> None:
        self.metrics = Metrics(self.shelf)
        self.connection = duckdb.connect(config={"memory_limit": MEMORY, "python_enable_replacements": False})
        self.connection.execute(SETTINGS)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection for one request, which shares the cache of all others."""
        return self.connection.cursor()

    def close(self) -> None:
        """Ends the processes that answer SQL."""
        self.pool.close()
        self.connection.close()


def service(request: Request) -> Service:
    """The service, for a route to depend on."""
    found: Service = request.app.state.service
    return found


def sql_setup(watch: Watch) -> Setup:
    """What a process must know to answer SQL about a run, and all that it may read."""
    catalog = watch.catalog()
    run = watch.run
    files = [name for stage in run.stages for manifest in run.manifests(stage) for name in manifest.files]
    return Setup(
        run=f"{run.folder}/",
        catalog=f"{catalog}/catalog/",
        views=(catalog / "catalog.sql").read_text(encoding="utf-8"),
        files=[str(run.folder / name) for name in files if name.endswith(".parquet")]
        + [str(Path(catalog, "catalog", f"{name}.parquet")) for name in TABLES],
        memory=SQL_MEMORY,
        process_memory=SQL_PROCESS_MEMORY,
        threads=SQL_THREADS,
    )
