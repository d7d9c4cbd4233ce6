"""What one shard leaves behind: a tar of JPEGs, and one line of outcome per row that was answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from foundation.failure import Failure
from pipeline.run.parquet import write_parquet
from pipeline.run.tar import TarWriter
from pipeline.stages.download.fetch import Fetched

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
    """img2dataset's sample writer: JPEGs go to `folder/images.tar` at once, outcomes to `answered.parquet` at close.

    `fetched` and `failed` are called from the downloader's threads, `write` and `close` from one. Memory: the outcomes.
    """

    def __init__(self, folder: Path, keys: Sequence[str]) -> None:
        self._folder, self._keys = folder, keys
        self._tar = TarWriter(folder / "images.tar")
        self._facts: dict[int, dict[str, Any]] = {}  # one row's facts are set by one thread at a time
        self._outcomes: list[dict[str, Any]] = []
        self._broken: OSError | None = None

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
        row = int(row_key)  # of shard 0, img2dataset's key is the row's number
        outcome = {"key": self._keys[row], "status": "failed", **self._facts.pop(row)}
        if jpeg is not None:
            sizes = {name: meta[name] for name in ("width", "height", "original_width", "original_height")}
            outcome |= {"status": "ok", "offset": self._store(row, jpeg), "length": len(jpeg), **sizes}
        elif "reason" not in outcome:
            outcome |= {"reason": "other", "detail": str(meta["error_message"])}
        self._outcomes.append(outcome)

    def _store(self, row: int, jpeg: bytes) -> int:
        try:
            return self._tar.add(f"{self._keys[row]}.jpg", jpeg)
        except OSError as error:  # a full disk, say; img2dataset would print this and go on
            self._broken = error
            raise

    def close(self) -> None:
        """Finish both files. Raises OSError when the tar could not be written in full."""
        if self._broken is not None:
            raise self._broken
        self._tar.close()
        write_parquet(pa.Table.from_pylist(self._outcomes, OUTCOME_SCHEMA), self._folder / "answered.parquet")
