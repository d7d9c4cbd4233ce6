"""What a child leaves of its rows: a tar of JPEGs, and one line of outcome per row that was answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from foundation.failure import Failure
from pipeline.run.tar import TarWriter
from pipeline.stages.download.fetch import Fetched
from pipeline.stages.download.journal import JOURNAL, Event, Journal

OUTCOME_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # ok or failed
        pa.field("reason", pa.string()),  # see config.REASONS; null when ok
        pa.field("detail", pa.string()),  # for people; null when ok
        pa.field("offset", pa.int64()),  # of the JPEG's first byte in images.tar
        pa.field("length", pa.int64()),  # of the JPEG, bytes
        pa.field("width", pa.int32()),  # of the stored JPEG, pixels
        pa.field("height", pa.int32()),
        pa.field("original_width", pa.int32()),  # as a viewer shows it: EXIF orientation applied
        pa.field("original_height", pa.int32()),
        pa.field("original_bytes", pa.int64()),
        pa.field("original_sha256", pa.string()),
        pa.field("content_type", pa.string()),
    ]
)
"""The columns of images.parquet. What is known of an original stays known when it could not be used."""


class ShardWriter:
    """img2dataset's sample writer: each JPEG goes to `folder/images.tar` at once, then its outcome to the journal.

    `begun`, `fetched` and `failed` are called from the downloader's threads, the others from one. The tar gets no end here:
    `shard.py` writes it when nothing more can come. Memory: facts of the rows in hand.
    """

    def __init__(self, folder: Path, keys: Sequence[str]) -> None:
        self._keys = keys
        self._tar = TarWriter(folder / "images.tar", append=True)
        self._journal = Journal(folder / JOURNAL)
        self._facts: dict[int, dict[str, Any]] = {}  # one row's facts are set by one thread at a time
        self.broken: OSError | None = None  # why a file could not be written: the disk is full, say

    def begun(self, row: int) -> None:
        """Note that a row's image is asked for."""
        self._note("begun", key=self._keys[row])

    def resizing(self, row: int) -> None:
        """Note that a row's image is about to be decoded: what strangers send is in a library's hands."""
        self._note("resizing", key=self._keys[row])

    def fetched(self, row: int, response: Fetched) -> None:
        """Note what the server sent for a row."""
        self._facts[row] = {
            "original_bytes": len(response.body),
            "original_sha256": response.sha256,
            "content_type": response.content_type,
        }

    def failed(self, row: int, failure: Failure) -> None:
        """Note why a row failed."""
        known = self._facts.get(row, {})
        self._facts[row] = {**known, "reason": failure.reason, "detail": failure.detail}

    def write(self, jpeg: bytes | None, row_key: str, _caption: Any, meta: dict[str, Any]) -> None:
        """Take one finished row from img2dataset; `jpeg` is None when it failed."""
        if self.broken is not None:
            return
        row = int(row_key)  # of shard 0, img2dataset's key is the row's number
        outcome = {"key": self._keys[row], "status": "failed", **self._facts.pop(row)}
        if jpeg is not None:
            sizes = {name: meta[name] for name in ("width", "height", "original_width", "original_height")}
            outcome |= {"status": "ok", "offset": self._store(row, jpeg), "length": len(jpeg), **sizes}
        elif "reason" not in outcome:
            outcome |= {"reason": "other", "detail": str(meta["error_message"])}
        self._note("answered", **outcome)

    def _store(self, row: int, jpeg: bytes) -> int | None:
        try:
            offset = self._tar.add(f"{self._keys[row]}.jpg", jpeg)
            self._tar.flush()  # before the journal says that it is there
            return offset
        except OSError as error:
            self.broken = error
            return None

    def _note(self, event: Event, **facts: Any) -> None:
        """Nothing is noted once a file could not be written: what an outcome says must be there."""
        if self.broken is None:
            try:
                self._journal.note(event, **facts)
            except OSError as error:
                self.broken = error

    def close(self) -> None:
        """Close the journal. Raises OSError when a file could not be written in full."""
        self._journal.close()
        if self.broken is not None:
            raise self.broken
