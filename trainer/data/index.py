"""Which pairs a training sees: the indexes of published folders, narrowed by SQL and weighted by source."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foundation.errors import InvalidInput
from foundation.sql import connect

COLUMNS = ("tar", "offset", "length", "caption", "key", "source")
"""Columns that an index must have; any further ones can be named in a predicate."""


class DataError(InvalidInput, ValueError):
    """Published pairs that cannot be used as asked; the message names folder, predicate or source."""


@dataclass(frozen=True, eq=False)
class PairIndex:
    """The chosen pairs in the order of their keys; a row is a position in these arrays.

    About 120 bytes a pair with captions of 18 characters. Forked loader workers share the memory, ranks do not.
    """

    tars: tuple[str, ...]  # paths or urls
    tar_ends: np.ndarray  # int64 [tars]: bytes of the tar up to the end of the last chosen image
    tar: np.ndarray  # int32 [rows]: position in `tars`
    offset: np.ndarray  # int64 [rows]: first byte of the image in its tar
    length: np.ndarray  # int32 [rows]: bytes of the image
    caption: pa.LargeStringArray
    key: pa.LargeStringArray
    source: pa.DictionaryArray
    weights: Mapping[str, float]

    @classmethod
    def open(
        cls, paths: Sequence[str | Path], where: str | None = None, weights: Mapping[str, float] | None = None
    ) -> PairIndex:
        """The pairs of the published folders `paths` (local, or urls that fsspec knows, not both).

        Args:
            where: a DuckDB condition over the columns of the index; `clip_score` stands for `score`. Null: all pairs.
            weights: source → how often its pairs come in an epoch, ≥ 0; 1 for sources not named. See `virtual_rows`.

        Raises:
            DataError: no folder or no index there, a predicate that DuckDB does not take or that no pair meets, a
                weight that is negative or names no source, a tar that is missing or shorter than its index says.
        """
        folders = [str(path).rstrip("/") for path in paths]
        if not folders or len({is_remote(folder) for folder in folders}) > 1:
            raise DataError(f"give at least one folder, all local or all remote; found {', '.join(folders) or 'none'}")
        with tempfile.TemporaryDirectory(prefix="zhclip-index-") as copies:
            files = {
                local: folder
                for i, folder in enumerate(folders)
                for local in _index_files(folder, Path(copies) / str(i))
            }
            table = _select(files, where)
        index = cls._of_table(table, dict(weights or {}))
        index._check(weights or {})
        return index

    @classmethod
    def _of_table(cls, table: pa.Table, weights: Mapping[str, float]) -> PairIndex:
        tars = table["tar"].combine_chunks().dictionary_encode()
        tar = np.asarray(tars.indices, dtype=np.int32)
        offset = table["offset"].to_numpy().astype(np.int64, copy=False)
        length = table["length"].to_numpy().astype(np.int32, copy=False)
        ends = np.zeros(len(tars.dictionary), dtype=np.int64)
        np.maximum.at(ends, tar, offset + length)
        texts = {name: _single_array(table[name]) for name in ("caption", "key")}
        source = table["source"].combine_chunks().dictionary_encode()
        return cls(
            tuple(tars.dictionary.to_pylist()), ends, tar, offset, length, **texts, source=source, weights=weights
        )

    def __len__(self) -> int:
        return len(self.tar)

    @property
    def remote(self) -> bool:
        """Whether the tars must be fetched before they can be read."""
        return is_remote(self.tars[0])

    def sources(self) -> dict[str, int]:
        """Number of chosen pairs of each source."""
        counts = np.bincount(np.asarray(self.source.indices), minlength=len(self.source.dictionary))
        return dict(zip(self.source.dictionary.to_pylist(), counts.tolist(), strict=True))

    def _check(self, weights: Mapping[str, float]) -> None:
        known = self.sources()
        for source, weight in weights.items():
            if source not in known or not 0 <= weight < float("inf"):
                raise DataError(
                    f"weight {source}={weight}: needs a number ≥ 0 and a source among {', '.join(sorted(known))}"
                )
        for path, end in zip(self.tars, self.tar_ends, strict=True):
            if is_remote(path):
                continue  # is found out when it is fetched: asking for thousands of sizes takes minutes
            size = Path(path).stat().st_size if Path(path).is_file() else -1
            if size < end:
                raise DataError(
                    f"{path}: {'missing' if size < 0 else f'has {size:,} bytes'}; its index says at least {end:,}"
                )


def is_remote(path: str) -> bool:
    """Whether `path` is a url such as s3://… or http://… rather than a local path."""
    return "://" in path and not path.startswith("file://")


def _index_files(folder: str, copies: Path) -> list[str]:
    """Local paths of the index files of a folder; those of a remote one are copied to `copies` first."""
    filesystem, root = fsspec.core.url_to_fs(folder, skip_instance_cache=True)  # see Shards._download
    names = _index_names(filesystem, root)
    if not names:
        raise DataError(
            f"{folder}: no published pairs here; expected a manifest.json, or NNNNNN.parquet beside NNNNNN.tar"
        )
    if not is_remote(folder):
        return [os.path.join(root, name) for name in names]  # noqa: PTH118 - the path as it was given
    copies.mkdir()
    for name in names:
        try:
            filesystem.get_file(f"{root}/{name}", str(copies / name))
        except FileNotFoundError as error:
            raise DataError(f"{folder}/{name}: missing, though its manifest names it") from error
    return [str(copies / name) for name in names]


def _index_names(filesystem: fsspec.AbstractFileSystem, root: str) -> list[str]:
    """What the manifest of a published folder names; without a manifest (some other tool's folder), what lies there."""
    manifest = f"{root}/manifest.json"
    if filesystem.exists(manifest):
        shards = json.loads(filesystem.cat_file(manifest))["shards"]
        return [name for shard in shards for name in shard["files"] if name.endswith(".parquet")]
    if not filesystem.isdir(root):
        return []
    return sorted(path.rsplit("/", 1)[-1] for path in filesystem.ls(root, detail=False) if path.endswith(".parquet"))


def _select(files: Mapping[str, str], where: str | None) -> pa.Table:
    """The columns COLUMNS of the rows that meet `where`, in key order; `tar` is a full path or url."""
    with connect() as database:
        names = pa.table({"filename": list(files), "folder": list(files.values())})
        database.register("folders", names)
        read = "read_parquet($files, union_by_name = true, filename = 'zhclip_file')"
        described = database.execute(f"DESCRIBE SELECT * FROM {read}", {"files": list(files)}).fetchall()
        columns = [name for name, *_ in described if name != "zhclip_file"]
        if missing := sorted(set(COLUMNS) - set(columns)):
            raise DataError(
                f"{next(iter(files))}: an index needs the columns {', '.join(missing)}; has {', '.join(columns)}"
            )
        alias = ", score AS clip_score" if "score" in columns and "clip_score" not in columns else ""
        # The predicate sees the index's own columns alone; the line break lets it end in a comment.
        query = f"""SELECT folder || '/' || tar AS tar, "offset", length, caption, key, source
            FROM (SELECT * FROM (SELECT *{alias} FROM {read}) AS pairs WHERE ({where or "true"}
            )) JOIN folders ON zhclip_file = filename ORDER BY key, 1, "offset" """
        try:
            table = database.sql(query, params={"files": list(files)}).to_arrow_table()
        except duckdb.IOException:
            raise
        except duckdb.Error as error:
            choice = ", ".join([*columns, *(["clip_score"] if alias else [])])
            raise DataError(f"where {where!r}: {str(error).splitlines()[0]}; columns: {choice}") from None
    if not table.num_rows:
        raise DataError(f"where {where!r}: no pair of {', '.join(sorted(set(files.values())))} meets it")
    return table


def _single_array(column: pa.ChunkedArray) -> pa.LargeStringArray:
    """One array instead of many chunks, since `take` copies all chunks together; null texts become empty."""
    return pc.fill_null(column.cast(pa.large_string()), "").combine_chunks()
