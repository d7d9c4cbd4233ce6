"""How `verify` reads a run: the one module here that opens files. Names are relative to the run, as manifests have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.run.folder import Run
from pipeline.run.manifest import Manifest
from pipeline.run.names import LEDGER

PIECE = 16 << 20  # bytes read at a time


class Stream(Protocol):
    """A file that is read from its beginning to its end."""

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes; none at the end."""
        ...


@dataclass(frozen=True)
class RunFiles:
    """The files of one run."""

    run: Run

    def listing(self) -> dict[str, int]:
        """Name → bytes of every file, sorted; hidden ones and those in hidden folders (work in progress) are left out."""
        entries = self.run.storage.list()
        return {
            entry.name: entry.bytes for entry in entries if not entry.name.startswith(".") and "/." not in entry.name
        }

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where there is none."""
        try:
            with self.run.storage.open(name) as file:
                return int(file.size())
        except FileNotFoundError:
            return None

    def bytes_of(self, name: str) -> bytes:
        """A file that fits into memory."""
        return self.run.storage.read(name)

    @contextmanager
    def stream(self, name: str) -> Iterator[Stream]:
        """A file that is read piece by piece."""
        with self.run.storage.open(name) as file:
            yield _Exact(file)

    def chunks(self, name: str) -> Iterator[bytes]:
        """A file, PIECE bytes at a time."""
        with self.stream(name) as file:
            while piece := file.read(PIECE):
                yield piece

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A Parquet file: some columns or, by default, all but vectors, which no check here looks at."""
        with self.run.storage.open(name) as source, pq.ParquetFile(source) as file:
            wanted = columns or [each.name for each in file.schema_arrow if not _is_vector(each.type)]
            return file.read(columns=wanted, use_threads=False)  # several shards are read at a time

    def rows_between(self, name: str, first: str, last: str) -> pa.Table:
        """The rows of a Parquet file whose key lies between two keys, these included."""
        between = [("key", ">=", first), ("key", "<=", last)]
        with self.run.storage.open(name) as file:
            return pq.read_table(file, filters=between)

    def manifest_names(self, stage: str) -> dict[str, str]:
        """Shard → name of its manifest, for all manifests that a stage has, in order."""
        return {shard: entry.name for shard, entry in self.run.manifest_entries(stage).items()}


@dataclass(frozen=True)
class _Exact:
    """A raw file whose `read` gives fewer bytes than asked for at its end alone."""

    file: Any

    def read(self, size: int, /) -> bytes:
        content = self.file.read(size)
        while len(content) < size and (more := self.file.read(size - len(content))):
            content += more
        return bytes(content)


def _is_vector(column: pa.DataType) -> bool:
    return bool(pa.types.is_list(column) and pa.types.is_floating(column.value_type))


def ending_of(run: Run, manifest: Manifest, name: str) -> str | None:
    """What of a file's name follows its shard, such as `.parquet`, or `ledger`; None where it is no name of this shard.

    Between the shard and the ending there may be a hash of the content: SHARD-HASH.parquet.
    """
    folder, _, base = name.rpartition("/")
    shard, dot, ending = base.partition(".")
    if (shard != manifest.shard and not shard.startswith(f"{manifest.shard}-")) or not dot:
        return None
    layout = run.stages[manifest.stage]
    if folder == layout.ledger:
        return LEDGER
    return f".{ending}" if folder in (layout.folder, layout.published) else None


def file_of(run: Run, manifest: Manifest, ending: str) -> str | None:
    """The name of a manifest's file with an ending; None where it names none."""
    return next((name for name in manifest.files if ending_of(run, manifest, name) == ending), None)
