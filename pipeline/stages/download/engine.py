"""img2dataset's downloader with this project's network, resizer and writer. All that is bent in it is bent here.

img2dataset has a parameter for the resizer and the writer, but none for the network: `download_image_with_retry` is a
name in its module, which `run` replaces. That is why a shard runs in a process of its own.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import io
import sys
import threading
import time
import traceback
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foundation.errors import WorkFailed
from foundation.failure import Failure
from pipeline.recipe.download import Download
from pipeline.sources.local_images import SCHEME
from pipeline.stages.download.fetch import Fetched, Fetcher
from pipeline.stages.download.guard import Deadline
from pipeline.stages.download.local import LocalImages
from pipeline.stages.download.resize import Box, crop_of, resize
from pipeline.stages.download.writer import ShardWriter

VERSIONS = ((1, 47), (1, 48))  # from, up to but without
_PARAMETERS = {
    "Downloader.__init__": (
        "self sample_writer_class resizer thread_count save_caption extract_exif output_folder column_list timeout "
        "number_sample_per_shard oom_shard_count compute_hash verify_hash_type encode_format retries user_agent_token "
        "disallowed_header_directives blurring_bbox_col"
    ),
    "Downloader.download_shard": "self row",
    "download_image_with_retry": "row timeout retries user_agent_token disallowed_header_directives",
}


class Img2datasetError(WorkFailed):
    """The installed img2dataset is not the one this module was written against."""


def load_downloader() -> types.ModuleType:
    """The module `img2dataset.downloader`, checked, without what the package imports besides.

    `import img2dataset` loads torch, wandb and albumentations: 3.4 s of CPU a process. The downloader needs none of
    them, so the package's own `__init__` is not run, and an empty module stands in for wandb, which only the unused
    logger calls.

    Raises:
        Img2datasetError: another version, or other parameters than expected.
    """
    version = importlib.metadata.version("img2dataset")
    if not VERSIONS[0] <= tuple(int(part) for part in version.split(".")[:2]) < VERSIONS[1]:
        raise Img2datasetError(f"img2dataset {version} is installed; this was written for 1.47")
    if "img2dataset" not in sys.modules:
        spec = importlib.util.find_spec("img2dataset")
        if spec is None:
            raise Img2datasetError("img2dataset has metadata but no package")
        sys.modules["img2dataset"] = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("wandb", types.ModuleType("wandb"))
    module = importlib.import_module("img2dataset.downloader")
    _check(module)
    return module


def _check(module: types.ModuleType) -> None:
    for name, expected in _PARAMETERS.items():
        attribute: Any = module
        for part in name.split("."):
            attribute = getattr(attribute, part, None)
        parameters = " ".join(inspect.signature(attribute).parameters) if callable(attribute) else "missing"
        if parameters != expected:
            raise Img2datasetError(f"img2dataset's {name} has parameters {parameters!r}, not {expected!r}")


class Body(io.BytesIO):
    """Fetched bytes that know their row, so that the resizer can say what it refuses, and of which row."""

    def __init__(self, row: int, data: bytes, crop: Box | None = None) -> None:
        super().__init__(data)
        self.row, self.crop = row, crop


class Finder:
    """Where a row's image comes from, as long as the shard has time: a folder or zip file for a local url, HTTP for others."""

    def __init__(self, config: Download, local: LocalImages, sources: Sequence[str | None], deadline: Deadline) -> None:
        self._web, self._local, self._sources, self._deadline = Fetcher(config), local, sources, deadline
        self._limit = f"download.shard_deadline ({config.shard_deadline:g} s)"

    def check_time(self) -> None:
        """Raises Failure shard_deadline when no further row is to be begun."""
        if self._deadline.left() <= 0:
            raise Failure("shard_deadline", f"{self._limit} was over before its turn")

    def fetch(self, row: int, url: str | None) -> Fetched:
        """The bytes behind the url of a row (a number from 0). Raises Failure, at the shard's deadline at the latest where
        HTTP is concerned."""
        if url is not None and url.startswith(SCHEME):
            return self._local.fetch(url, self._sources[row])
        began = time.monotonic()
        try:
            return self._web.fetch(url, self._deadline.left())
        except Failure as failure:
            if failure.reason == "timeout" and self._deadline.left() <= 0:
                had = time.monotonic() - began
                raise Failure("shard_deadline", f"given up after {had:.1f} s: {self._limit} was over") from failure
            raise


class Turns:
    """A writer for img2dataset that says when a row is done with, so that no more than `rows` are in hand."""

    def __init__(self, writer: ShardWriter, rows: int) -> None:
        self._writer, self._turns = writer, threading.Semaphore(rows)

    def wait(self) -> None:
        """Wait for a turn; `write` gives it back."""
        self._turns.acquire()

    def write(self, *outcome: Any) -> None:
        """As ShardWriter's, which every row comes to once."""
        try:
            self._writer.write(*outcome)
        finally:
            self._turns.release()

    def close(self) -> None:
        """As ShardWriter's."""
        self._writer.close()


def run(urls: Path, folder: Path, writer: ShardWriter, config: Download, finder: Finder) -> None:
    """Fetch and resize every row of an Arrow file and give the outcome to `writer`.

    Args:
        urls: Arrow IPC file with a string column `url`; img2dataset deletes it at the end.
        folder: where img2dataset leaves its statistics (`00000_stats.json`).
        writer: called in this thread, in the order in which rows finish.
        finder: gets the bytes of a row.

    A row whose outcome raises in `writer` is lost; img2dataset prints the error and goes on. With one thread, a row is begun
    when the one before is written.
    """
    module: Any = load_downloader()
    turns = Turns(writer, 1 if config.threads == 1 else 2 * config.threads)  # img2dataset has no more than that in hand

    def fetch(row: tuple[int, str | None], **_: Any) -> tuple[int, Body | None, str | None]:
        # Nothing may be raised here: img2dataset's thread pool would wait for ever.
        turns.wait()
        if writer.broken is not None:
            return row[0], None, "other"
        try:
            finder.check_time()
            writer.begun(row[0])
            fetched = finder.fetch(*row)
        except Failure as failure:
            writer.failed(row[0], failure)
            return row[0], None, failure.reason
        except Exception as error:
            traceback.print_exc()
            writer.failed(row[0], Failure("other", f"{type(error).__name__}: {error}"))
            return row[0], None, "other"
        writer.fetched(row[0], fetched)
        return row[0], Body(row[0], fetched.body, crop_of(row[1])), None

    def resized(body: Body, _boxes: Any = None) -> tuple[bytes | None, Any, Any, Any, Any, str | None]:
        writer.resizing(body.row)
        try:
            image = resize(body.getvalue(), config, body.crop)
        except Failure as failure:
            writer.failed(body.row, failure)
            return None, None, None, None, None, failure.reason
        except Exception as error:  # cv2.error, MemoryError: of one image, not of the shard
            traceback.print_exc()
            writer.failed(body.row, Failure("other", f"{type(error).__name__}: {error}"))
            return None, None, None, None, None, "other"
        return image.jpeg, image.width, image.height, image.original_width, image.original_height, None

    module.download_image_with_retry = fetch
    module.Downloader(
        sample_writer_class=lambda *_: turns,
        resizer=resized,
        thread_count=config.threads,
        save_caption=False,
        extract_exif=False,
        output_folder=str(folder),
        column_list=["url"],
        timeout=config.timeout,  # this and what follows about requests: `fetch` has its own from `config`
        number_sample_per_shard=10**9,  # only sets how many digits img2dataset's own keys have
        oom_shard_count=5,
        compute_hash=None,
        verify_hash_type=None,
        encode_format="jpg",
        retries=config.retries,
        user_agent_token=None,
        disallowed_header_directives=None,
    ).download_shard((0, str(urls)))
