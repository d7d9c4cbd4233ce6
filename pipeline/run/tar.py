"""Tar members with fixed metadata, so that the same pairs give the same bytes."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

BLOCK = tarfile.BLOCKSIZE
END_OF_TAR = bytes(2 * BLOCK)


@dataclass(frozen=True)
class Sample:
    """One pair as it lies in a webdataset tar."""

    content: bytes  # of its three members, headers and padding included
    image_offset: int  # of the image's first byte, from the beginning of `content`


def sample_members(key: str, image: bytes, columns: Mapping[str, Any]) -> Sample:
    """KEY.jpg, KEY.json and KEY.txt; the caption is `columns["caption"]`, the JSON is all columns that have a value, in order.

    Hugging Face's `datasets` takes the types of a JSON's fields from the first five samples: a null there would be the only
    value that the field may ever have.
    """
    there = {name: value for name, value in columns.items() if value is not None}
    described = json.dumps(there, ensure_ascii=False).encode()
    parts = ((f"{key}.jpg", image), (f"{key}.json", described), (f"{key}.txt", columns["caption"].encode()))
    return Sample(b"".join(member(name, data) for name, data in parts), BLOCK)


def member(name: str, data: bytes) -> bytes:
    """One USTAR member, padded: mode 0644, owner 0, time 0."""
    header = tarfile.TarInfo(name)
    header.size = len(data)
    return header.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % BLOCK)


class TarWriter:
    """A tar in plain USTAR form with fixed metadata, that says where each member's bytes lie."""

    def __init__(self, path: Path, append: bool = False) -> None:
        """`append` goes on behind the members of a tar that has no end yet, if there is one; otherwise FileExistsError is
        raised where there is a file already."""
        self._file: BinaryIO = path.open("ab" if append else "xb", buffering=1 << 20)

    def add(self, name: str, data: bytes) -> int:
        """Append a member; return the offset of its first byte."""
        start = self._file.tell()
        self._file.write(member(name, data))
        return start + BLOCK

    def flush(self) -> None:
        """Hand everything to the system: a process that is killed now loses none of it."""
        self._file.flush()

    def close(self) -> None:
        """Write the end (two empty blocks, filled up to a record) and make everything durable."""
        end = self._file.tell() + len(END_OF_TAR)
        self._file.write(END_OF_TAR + bytes(-end % tarfile.RECORDSIZE))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
