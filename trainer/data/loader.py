"""The loader of a rank: worker processes that make batches ahead of time, and a place to go on from."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from trainer.data.augment import AugmentConfig, normalise
from trainer.data.index import PairIndex
from trainer.data.order import MIXED_SHARDS, Mixture, Order, ShardOrder
from trainer.data.pairs import Batch, Pairs, Request, Tokenize
from trainer.tokenizer import tokenize as default_tokenize


class PairLoader:
    """Batches of the pairs that `order` takes, in that order, bit for bit the same for any number of workers.

        loader = PairLoader(index, epoch_order(index, epoch=0, seed=0, batch_per_rank=64), image_size=224, workers=4)
        for batch in loader:
            ...                     # loader.position: pairs consumed by all ranks; goes into the checkpoint
        loader.order = epoch_order(index, epoch=1, seed=0, batch_per_rank=64)   # the workers stay

    Args:
        image_size: pixels a side.
        augment: True for the defaults of AugmentConfig; False or null for the transformation of evaluation.
        max_length: tokens of a caption, [CLS] and [SEP] included.
        workers: processes; 0 makes batches in this one.
        prefetch: batches that each worker makes ahead of time.
        device: where the images are normalised, and where they and the tokens come to lie. They travel as uint8.
        tokenize: null for `trainer.tokenizer.tokenize`.
        cache: folder for copies of remote shards; null for a temporary one. Never shared by ranks of different machines.
    """

    def __init__(
        self,
        index: PairIndex,
        order: Order | ShardOrder,
        image_size: int,
        augment: bool | AugmentConfig | None = True,
        max_length: int = 52,
        workers: int = 4,
        prefetch: int = 2,
        device: torch.device | str = "cpu",
        tokenize: Tokenize | None = None,
        cache: Path | None = None,
    ) -> None:
        self.order, self.device, self._mixture = order, torch.device(device), Mixture(index)
        self._index, self._batches = index, 0
        config = AugmentConfig() if augment is True else augment or None
        self._folder = tempfile.TemporaryDirectory(prefix="zhclip-shards-") if index.remote and cache is None else None
        place = Path(self._folder.name) if self._folder else cache
        copies = 2 * MIXED_SHARDS + workers
        self._pairs = Pairs(
            index, image_size, config, max_length, tokenize or default_tokenize, place if index.remote else None, copies
        )
        self._loader = DataLoader(
            self._pairs,
            batch_size=None,  # a request is a whole batch already
            sampler=_Requests(self),
            num_workers=workers,
            collate_fn=_as_it_is,
            worker_init_fn=_start,
            pin_memory=self.device.type == "cuda",
            persistent_workers=workers > 0,
            prefetch_factor=prefetch if workers else None,
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

    def requests(self) -> Iterator[Request]:
        """What the workers are asked for, in order."""
        order = self.order
        for numbers, spares, ahead in order:
            every = np.concatenate([numbers[:, None], spares], axis=1)
            yield Request(self._mixture.rows(every, order.epoch), every, order.epoch, order.seed, ahead)

    def close(self) -> None:
        """End the workers and remove copies of remote shards."""
        # DataLoader has no public way to end persistent workers; to let go of it is not enough after an error, whose
        # traceback holds on to the iterator.
        if (iterator := getattr(self._loader, "_iterator", None)) is not None:
            iterator._shutdown_workers()
        self._pairs.shards.close()
        if self._folder:
            self._folder.cleanup()


class _Requests(Sampler[Request]):
    def __init__(self, loader: PairLoader) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[Request]:
        return self._loader.requests()


def _as_it_is(batch: Any) -> Any:
    return batch


def _start(worker: int) -> None:  # noqa: ARG001 - what DataLoader calls it with
    # What a worker inherits is none of its rubbish: to collect it would copy memory that is shared so far, and close
    # network connections whose event loop runs in the other process, which blocks for seconds.
    gc.freeze()
