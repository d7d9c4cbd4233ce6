"""Links that must not be used, such as the 2,236 that Re-LAION-5B took out (laion.ai/blog/relaion-5b, 2024).

The rule stands with the sources and not in `filters`, because its lists are files of data sets: Parquet and CSV of millions
of urls, wherever metadata may lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from filters.base import Filter
from pipeline.sources.files import find_files, open_file


class RemovedUrls(Filter):
    """Rejects pairs whose url stands in one of the lists."""

    reasons: ClassVar[Mapping[str, str]] = {
        "removed_link": "the url stands in one of the source's removal lists",
    }
    columns: ClassVar[tuple[str, ...]] = ("url",)
    lists: tuple[str, ...]

    @cached_property
    def links(self) -> pa.Array:
        """All removed urls, trimmed."""
        return _links(self.lists)

    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """True where the trimmed url equals a removed one; a null url is not removed."""
        return {"removed_link": pc.is_in(pairs["url"], self.links, skip_nulls=True)}


@lru_cache(maxsize=8)
def _links(lists: tuple[str, ...]) -> pa.Array:
    return pa.concat_arrays([_read_list(path) for path in find_files(lists)]).unique()


def _read_list(path: str) -> pa.Array:
    if path.endswith((".parquet", ".csv")):
        with open_file(path) as handle:
            table = pq.read_table(handle) if path.endswith(".parquet") else pyarrow.csv.read_csv(handle)
        column = next((name for name in table.column_names if name.lower() == "url"), None)
        if column is None:
            raise ValueError(f"{path}: a removal list needs a url column; found {', '.join(table.column_names)}")
        return pc.utf8_trim_whitespace(table[column].cast(pa.string())).combine_chunks()
    with open_file(path) as handle:
        lines = [line.strip() for line in handle.read().decode("utf-8").splitlines()]
    return pa.array([line for line in lines if line and not line.startswith("#")], pa.string())
