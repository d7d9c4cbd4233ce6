"""COCO-CN's Chinese captions of COCO's images: text files, one row a line.

    imageid.human-written-caption.txt    COCO_val2014_000000391895#0<TAB>文本

A row's number is the line's, from 0.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from foundation.formats.captions import CaptionLine, parse_line
from pipeline.sources.files import open_file
from pipeline.sources.images import IMAGES_SCHEMA, Addresses
from pipeline.sources.splits import Block, Unreadable

BATCH = 32_768  # lines of one table
NAME = re.compile(r"COCO_[a-z]+\d{4}_\d{12}")


def read_coco_cn(file: str, addresses: Addresses) -> Iterator[Block | Unreadable]:
    """Tables with IMAGES_SCHEMA and `caption`; a line of another form is malformed, an empty one no row."""
    with open_file(file) as handle:
        first = 0
        while lines := list(itertools.islice(handle, BATCH)):
            texts = [line.decode("utf-8-sig" if first + i == 0 else "utf-8", "replace") for i, line in enumerate(lines)]
            parsed = [(first + i, _parse(text)) for i, text in enumerate(texts) if text.strip()]
            good = [(row, line) for row, line in parsed if line]
            table = pa.Table.from_pylist([_image_of(line.id.image, addresses) for _, line in good], IMAGES_SCHEMA)
            captions = pa.array([line.text for _, line in good], pa.string())
            yield Block(table.append_column("caption", captions), np.array([row for row, _ in good], dtype=np.int64))
            for row in (row for row, line in parsed if not line):
                detail = f"expected COCO_val2014_000000391895#0 and a caption; found {texts[row - first]!r:.80}"
                yield Unreadable(row, 1, "malformed_row", detail)
            first += len(lines)


def _parse(text: str) -> CaptionLine | None:
    line = parse_line(text)
    return line if line and NAME.fullmatch(line.id.image) else None


def _image_of(name: str, addresses: Addresses) -> dict[str, Any]:
    number = int(name.rpartition("_")[2])
    url = addresses.of({"file_name": f"{name}.jpg"})
    return {"image_id": str(number), "name": name, "url": url, "coco_id": number}
