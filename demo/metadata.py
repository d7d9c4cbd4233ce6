"""Writes the demo's rows as the real data sets' files: laion2B-multi (joined and raw) and Wukong."""

from __future__ import annotations

import csv
import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP = 200
JOINED_SCHEMA = pa.schema(
    [
        ("URL", pa.string()),
        ("TEXT", pa.string()),
        ("WIDTH", pa.int32()),
        ("HEIGHT", pa.int32()),
        ("LICENSE", pa.string()),
        ("LANGUAGE", pa.string()),
        ("NSFW", pa.string()),
        ("similarity", pa.float64()),
        ("hash", pa.int64()),
        ("punsafe", pa.float32()),
        ("pwatermark", pa.float32()),
    ]
)
"""laion2B-multi joined with punsafe and pwatermark."""

RAW_SCHEMA = pa.schema(
    [
        ("SAMPLE_ID", pa.float64()),
        ("URL", pa.string()),
        ("TEXT", pa.string()),
        ("HEIGHT", pa.float64()),
        ("WIDTH", pa.float64()),
        ("LICENSE", pa.string()),
        ("LANGUAGE", pa.string()),
        ("NSFW", pa.string()),
        ("similarity", pa.float64()),
    ]
)
"""laion2B-multi as first published: integers as doubles, and HEIGHT and WIDTH the wrong way round."""


@dataclass
class Row:
    """One row of metadata, and what is known about it."""

    url: str | None
    caption: str | None
    fault: str  # a kind of demo.faults
    file: str = ""  # base name of the metadata file
    position: int = -1  # row of that file, from 0
    variant: str = ""  # form of the image, or what is special about the link
    language: str = "zh"
    punsafe: float | None = None  # None: something small
    width: int = 256
    height: int = 256
    concept: str = ""
    style: str = ""
    licence: str = ""


def write_joined(path: Path, rows: Sequence[Row], rng: random.Random, groups: Sequence[int] = ()) -> None:
    """Parquet with `groups` as the sizes of its row groups, and groups of ROW_GROUP for what is left."""
    table = pa.Table.from_pylist([_joined(row, rng) for row in rows], JOINED_SCHEMA)
    with pq.ParquetWriter(path, JOINED_SCHEMA, compression="snappy") as writer:
        start = 0
        for size in groups:
            writer.write_table(table.slice(start, size))
            start += size
        if start < len(rows):
            writer.write_table(table.slice(start), row_group_size=ROW_GROUP)


def write_raw(path: Path, rows: Sequence[Row], rng: random.Random) -> None:
    """Parquet in the raw schema, with some of the dirt known of the real files: nulls, and a similarity of 6016."""
    content = [_raw(row, i, rng) for i, row in enumerate(rows)]
    table = pa.Table.from_pylist(content, RAW_SCHEMA)
    pq.write_table(table, path, compression="snappy", row_group_size=ROW_GROUP)


def write_wukong(path: Path, rows: Sequence[Row], malformed: frozenset[int] = frozenset()) -> None:
    """CSV as Wukong's; rows at the positions `malformed` get a third field, as from an unquoted comma."""
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["url", "caption"])
        for i, row in enumerate(rows):
            more = ["未加引号的逗号"] if i in malformed else []
            writer.writerow([row.url or "", row.caption or "", *more])


def spoil_row_group(path: Path, group: int) -> None:
    """Overwrites the urls of one row group, page headers included, so that reading them fails and nothing else does."""
    metadata = pq.ParquetFile(path).metadata
    chunk = metadata.row_group(group).column(metadata.schema.to_arrow_schema().get_field_index("URL"))
    offset = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[offset : offset + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)


def _joined(row: Row, rng: random.Random) -> dict[str, object]:
    digest = hashlib.sha256(f"{row.url} {row.caption}".encode()).digest()
    return {
        **_common(row, rng),
        "WIDTH": row.width,
        "HEIGHT": row.height,
        "hash": int.from_bytes(digest[:8], "big", signed=True),
        "punsafe": rng.betavariate(1, 60) if row.punsafe is None else row.punsafe,
        "pwatermark": rng.betavariate(1, 12),
    }


def _raw(row: Row, index: int, rng: random.Random) -> dict[str, object]:
    content = {
        **_common(row, rng),
        "SAMPLE_ID": float(10**12 + index),
        "WIDTH": float(row.height),
        "HEIGHT": float(row.width),
    }
    if index % 40 == 7:
        content["similarity"] = 6016.0
    if index % 40 == 23:
        content |= {"similarity": None, "NSFW": None, "WIDTH": None, "HEIGHT": None}
    return content


def _common(row: Row, rng: random.Random) -> dict[str, object]:
    return {
        "URL": row.url,
        "TEXT": row.caption,
        "LICENSE": "?" if rng.random() < 0.9 else None,
        "LANGUAGE": row.language,
        "NSFW": "UNLIKELY",
        "similarity": round(rng.uniform(0.26, 0.42), 6),
    }
