"""Curates image-text pairs, from Python: `from pipeline import curate, load_recipe`; see docs/api.md.

Importing this package costs nothing: each name is looked up when it is first used, and Beam and torch when work begins.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.api import (
        COMMANDS,
        Recipe,
        Run,
        calibrate,
        collect_garbage,
        curate,
        failed_downloads,
        load_recipe,
        open_run,
        read_run,
        retry,
        run_stages,
        status,
        verify,
    )

__all__ = [
    "COMMANDS",
    "Recipe",
    "Run",
    "calibrate",
    "collect_garbage",
    "curate",
    "failed_downloads",
    "load_recipe",
    "open_run",
    "read_run",
    "retry",
    "run_stages",
    "status",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("pipeline.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
