"""A hash of what a downloaded shard holds, whatever the order in which its images came and lie in the tar."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

LEFT_OUT = {"offset", "detail"}  # where an image lies, and words for people, which may name addresses in memory


def content_of(outcomes: pa.Table, image_hashes: Sequence[str | None]) -> str:
    """64 hex digits.

    Args:
        outcomes: rows of OUTCOME_SCHEMA in key order.
        image_hashes: SHA-256 in hex of each row's stored image; None where it has none.
    """
    columns = [pc.cast(outcomes[name], pa.string()) for name in outcomes.column_names if name not in LEFT_OUT]
    columns.append(pa.chunked_array([pa.array(image_hashes, pa.string())]))
    lines = pc.binary_join_element_wise(*columns, "\t", null_handling="replace", null_replacement="")
    digest = hashlib.sha256()
    for chunk in lines.chunks:
        digest.update("".join(f"{line}\n" for line in chunk.to_pylist()).encode())
    return digest.hexdigest()


def stored_hashes(outcomes: pa.Table, tar: Path) -> list[str | None]:
    """SHA-256 in hex of each row's image in `tar`; None where it has none."""
    places = list(zip(outcomes["offset"].to_pylist(), outcomes["length"].to_pylist(), strict=True))
    with tar.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as images:
        return [
            None if offset is None else hashlib.sha256(images[offset : offset + length]).hexdigest()
            for offset, length in places
        ]
