"""The catalog of a run: SQL views over its own Parquet files, for DuckDB."""

from pipeline.inspect.catalog.connect import attach, connect
from pipeline.inspect.catalog.write import write_catalog

__all__ = ["attach", "connect", "write_catalog"]
