"""Tar members with fixed metadata, so that the same pairs give the same bytes."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
