"""Batches of pairs as tensors: what is asked for, the data set that makes it, and worker processes that make it ahead."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trainer.data.augment import AugmentConfig, BrokenImage, Transform, normalise, uniform_samples
from trainer.data.index import DataError, PairIndex
from trainer.data.order import MIXED_SHARDS, Order, Request, ShardOrder
from trainer.data.shards import Shards
from trainer.tokenizer import MAX_LENGTH, tokenize

Tokenize = Callable[[Sequence[str], int], Tensor]
"""Captions and the greatest length → int64 [B, L], L the longest caption of the batch, padded with 0."""


@dataclass(frozen=True)
class LoaderConfig:
    """How pairs become batches, and by how many processes."""

    image_size: int  # pixels a side
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)  # null: the transformation of evaluation
    max_length: int = MAX_LENGTH  # tokens of a caption, [CLS] and [SEP] included
    workers: int = 4  # processes; 0 makes batches in this one
    prefetch: int = 2  # batches that each worker makes ahead of time
    device: torch.device | str = "cpu"  # where images are normalised, and where they and tokens come to lie
    tokenize: Tokenize = tokenize
    cache: Path | None = None  # copies of remote shards, of ranks of one machine; null: a temporary folder


@dataclass(slots=True)
class Batch:
    """Pairs of one step, of one rank."""

    images: Tensor  # [B, 3, H, W]: uint8 as the workers make them, normalised float32 as `PairLoader` gives them
    tokens: Tensor  # int64 [B, L]
    keys: list[str]
    skipped: list[tuple[str, str]] = field(default_factory=list)  # broken images that were replaced: key, error

    def __len__(self) -> int:
        return len(self.keys)

    def pin_memory(self) -> Batch:
        """With tensors in page-locked memory; the loader's pinning thread calls this."""
        return replace(self, images=self.images.pin_memory(), tokens=self.tokens.pin_memory())


class Pairs(Dataset[Batch]):
    """Makes a requested batch of `index`, the same one in whichever process."""

    def __init__(self, index: PairIndex, config: LoaderConfig) -> None:
        """Remote shards need a `cache` in the configuration."""
        self.index, self.config = index, config
        self.transform = Transform(config.image_size, config.augment)
        cache = config.cache if index.remote else None
        self.shards = Shards(index.tars, index.tar_ends.tolist(), cache, 2 * MIXED_SHARDS + config.workers)

    def __getitem__(self, request: Request) -> Batch:
        """The batch: images uint8 [B, 3, H, W]. `skipped` names broken images that were replaced.

        Raises:
            DataError: a pair and all of its fallbacks are broken.
            ShardError: a remote shard cannot be fetched.
        """
        if request.prefetch is not None:
            self.shards.prepare(request.prefetch)
        size, skipped = self.transform.size, []
        images = torch.empty(len(request.rows), 3, size, size, dtype=torch.uint8)
        samples = uniform_samples(request.seed, request.epoch, request.pairs[:, 0])
        rows = []
        for i in range(len(request.rows)):
            row, errors = self._image(images[i].numpy(), request, i, samples[i])
            rows.append(row)
            skipped += errors
        keys = self.index.key.take(pa.array(rows, pa.int64())).to_pylist()
        return Batch(images, self._tokens(rows), keys, skipped)

    def _image(
        self, target: np.ndarray, request: Request, i: int, samples: NDArray[np.float64]
    ) -> tuple[int, list[tuple[str, str]]]:
        """Fill `target` with the i-th pair's image, or its first fallback's that is not broken; that row, and the errors."""
        errors: list[tuple[str, str]] = []
        for column, row in enumerate(request.rows[i].tolist()):
            if column:
                samples = uniform_samples(request.seed, request.epoch, request.pairs[i, column : column + 1])[0]
            try:
                content = self.shards.read(
                    int(self.index.tar[row]), int(self.index.offset[row]), int(self.index.length[row])
                )
                target[...] = self.transform(content, samples).transpose(2, 0, 1)
            except (BrokenImage, OSError, EOFError) as error:
                errors.append((self.index.key[row].as_py(), str(error)))
            else:
                return row, errors
        raise DataError(f"{len(errors)} broken images one after the other: {'; '.join(map(': '.join, errors))}")

    def _tokens(self, rows: list[int]) -> Tensor:
        if not rows:
            return torch.zeros(0, self.config.max_length, dtype=torch.int64)
        captions = self.index.caption.take(pa.array(rows, pa.int64())).to_pylist()
        return self.config.tokenize(captions, self.config.max_length)


class PairLoader:
    """Batches of the pairs that `order` takes, in that order, bit for bit the same for any number of workers.

    order = epoch_order(index, epoch=0, seed=0, batch_per_rank=64)
    loader = PairLoader(index, order, LoaderConfig(image_size=224))
    for batch in loader:
        ...                     # loader.position: pairs consumed by all ranks; goes into the checkpoint
    order.set_epoch(1)          # the workers stay
    """

    def __init__(self, index: PairIndex, order: Order | ShardOrder, config: LoaderConfig) -> None:
        self.order, self.device, self._batches = order, torch.device(config.device), 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if index.remote and config.cache is None:
            self._folder = tempfile.TemporaryDirectory(prefix="zhclip-shards-")
            config = replace(config, cache=Path(self._folder.name))
        self._pairs = Pairs(index, config)
        self._loader = DataLoader(
            self._pairs,
            batch_size=None,  # a request is a complete batch already
            sampler=order,
            num_workers=config.workers,
            collate_fn=_as_it_is,
            worker_init_fn=_start,
            pin_memory=self.device.type == "cuda",
            persistent_workers=config.workers > 0,
            prefetch_factor=config.prefetch if config.workers else None,
        )

    @property
    def position(self) -> int:
        """Pairs of this epoch that all ranks together have been given so far: the `start` of an order that goes on here."""
        return self.order.position(self._batches)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of `order`, from its start."""
        self._batches = 0
        for batch in self._loader:
            self._batches += 1
            images = batch.images.to(self.device, non_blocking=True)
            yield replace(batch, images=normalise(images), tokens=batch.tokens.to(self.device, non_blocking=True))

    def close(self) -> None:
        """End the workers and remove copies of remote shards."""
        # DataLoader has no public way to end persistent workers; to let go of it is not enough after an error, whose
        # traceback holds on to the iterator.
        if (iterator := getattr(self._loader, "_iterator", None)) is not None:
            iterator._shutdown_workers()
        self._pairs.shards.close()
        if self._folder:
            self._folder.cleanup()


def _as_it_is(batch: Any) -> Any:
    return batch


def _start(worker: int) -> None:  # noqa: ARG001 - what DataLoader calls it with
    # What a worker inherits is none of its rubbish: to collect it would copy memory that is shared so far, and close
    # network connections whose event loop runs in the other process, which blocks for seconds.
    gc.freeze()
