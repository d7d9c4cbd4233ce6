"""The catalog of a run: used as it is while its first line fits, so it must then be what the manifests give."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.inspect.catalog.write import stale_parts
from pipeline.inspect.verify.context import Context
from pipeline.run.names import CATALOG_SQL


def check_catalog(context: Context) -> Iterator[str]:
    """A catalog that is out of date is no problem: whoever uses it writes it anew first."""
    for name, fault in stale_parts(context.run):
        yield f"{name}: {fault}; remove {CATALOG_SQL}, and `zhclip sql` writes the catalog anew"
