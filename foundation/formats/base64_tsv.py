"""Images as MUGE and Chinese-CLIP publish them, `*_imgs.tsv`: id, tab, the image in base64, one a line."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from foundation.formats.lines import FormatError
from foundation.text import shown

STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")  # from URL-safe base64, which both write, to the usual one


class Row(NamedTuple):
    """Where an image stands in a file."""

    image_id: str
    line: int  # from 1
    offset: int  # of the first byte of the base64


def scan_rows(path: Path) -> Iterator[Row]:
    """Yield where the images stand, in file order, without decoding them.

    Raises:
        FormatError: a row that is not blank has no tab or no id.
    """
    for row, _ in _rows(path):
        yield row


def read_rows(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield id and encoded bytes of each image, in file order, one at a time.

    Raises:
        FormatError: a row that is not blank is not id, tab, base64.
    """
    for row, text in _rows(path):
        yield row.image_id, decode(text, f"{path}:{row.line}")


def decode(text: bytes, location: str) -> bytes:
    """The bytes behind base64 in either alphabet, with or without padding; raises FormatError naming `location`."""
    text = text.strip().translate(STANDARD_ALPHABET).rstrip(b"=")
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise FormatError(f"{location}: expected base64 ({error}); found {shown(text)}") from None


def _rows(path: Path) -> Iterator[tuple[Row, bytes]]:
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            name, tab, text = line.partition(b"\t")
            image_id = name.decode("utf-8", "replace").strip()
            if line.strip():
                if not (tab and image_id):
                    raise FormatError(f"{path}:{number}: expected id, tab, base64; found {shown(line.rstrip())}")
                yield Row(image_id, number, offset + len(name) + 1), text
            offset += len(line)
