"""The catalog of a run: SQL views over its own Parquet files, for DuckDB."""

from pipeline.catalog.connect import attach, connect
from pipeline.catalog.write import write_catalog

__all__ = ["attach", "connect", "write_catalog"]
