"""Libraries that take long to load and that most commands never use: each is loaded when something of it is first asked for.

`from foundation.lazy import polars as pl` costs nothing, where `import polars as pl` costs 0.1 s of every `zhclip --help`.
Only for use inside functions: a module that takes an attribute while it is itself imported loads the library then.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cv2
    import duckdb
    import fsspec
    import polars
else:

    class _Lazy(ModuleType):
        """Stands for the library of its name; import_module holds Python's import lock, so threads may share it."""

        def __getattr__(self, name: str) -> Any:
            return getattr(import_module(self.__name__), name)

    cv2, duckdb, fsspec, polars = map(_Lazy, ("cv2", "duckdb", "fsspec", "polars"))

__all__ = ["cv2", "duckdb", "fsspec", "polars"]
