"""Pairs as tensors: a request for some rows becomes a batch, the same one whoever makes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import Dataset

from trainer.data.augment import AugmentConfig, BrokenImage, Transform, draws
from trainer.data.index import DataError, PairIndex
from trainer.data.shards import Shards

Tokenize = Callable[[Sequence[str], int], Tensor]
"""Captions and the greatest length → int64 [B, L], L the longest caption of the batch, padded with 0."""


class Request(NamedTuple):
    """A batch to be made. Column 0 is the pair asked for, the others are its replacements in turn."""

    rows: np.ndarray  # int64 [B, 1 + SPARES]: rows of the index
    numbers: np.ndarray  # int64 [B, 1 + SPARES]: numbers in the epoch, which decide how a pair is augmented
    epoch: int
    seed: int
    ahead: int | None  # a remote shard to fetch ahead of time


@dataclass(slots=True)
class Batch:
    """Pairs of one step, of one rank."""

    images: Tensor  # [B, 3, H, W]: uint8 as the workers make them, normalised float32 as `PairLoader` gives them
    tokens: Tensor  # int64 [B, L]
    keys: list[str]
    skipped: list[tuple[str, str]] = field(default_factory=list)  # broken images that others stand in for: key, error

    def __len__(self) -> int:
        return len(self.keys)

    def pin_memory(self) -> Batch:
        """With tensors in page-locked memory; the loader's pinning thread calls this."""
        return replace(self, images=self.images.pin_memory(), tokens=self.tokens.pin_memory())


class Pairs(Dataset[Batch]):
    """Makes batches of `index`.

    Args:
        image_size: pixels a side.
        augment: null for the transformation of evaluation.
        max_length: tokens of a caption, [CLS] and [SEP] included.
        cache: folder for copies of remote shards, and how many.
    """

    def __init__(
        self,
        index: PairIndex,
        image_size: int,
        augment: AugmentConfig | None,
        max_length: int,
        tokenize: Tokenize,
        cache: Path | None = None,
        copies: int = 16,
    ) -> None:
        self.index, self.max_length, self.tokenize = index, max_length, tokenize
        self.transform = Transform(image_size, augment)
        self.shards = Shards(index.tars, index.tar_ends.tolist(), cache, copies)

    def __getitem__(self, request: Request) -> Batch:
        """The batch: images uint8 [B, 3, H, W]. `skipped` names broken images that were replaced.

        Raises:
            DataError: a pair and all of its replacements are broken.
            ShardError: a remote shard cannot be fetched.
        """
        if request.ahead is not None:
            self.shards.prepare(request.ahead)
        size, skipped = self.transform.size, []
        images = torch.empty(len(request.rows), 3, size, size, dtype=torch.uint8)
        chance = draws(request.seed, request.epoch, request.numbers[:, 0])
        rows = []
        for i in range(len(request.rows)):
            row, errors = self._image(images[i].numpy(), request, i, chance[i])
            rows.append(row)
            skipped += errors
        keys = self.index.key.take(pa.array(rows, pa.int64())).to_pylist()
        return Batch(images, self._tokens(rows), keys, skipped)

    def _image(
        self, target: np.ndarray, request: Request, i: int, chance: np.ndarray
    ) -> tuple[int, list[tuple[str, str]]]:
        """Fill `target` with the i-th pair's image, or the first whole one of its replacements; that row, and the errors."""
        errors: list[tuple[str, str]] = []
        for column, row in enumerate(request.rows[i].tolist()):
            if column:
                chance = draws(request.seed, request.epoch, request.numbers[i, column : column + 1])[0]
            try:
                content = self.shards.read(
                    int(self.index.tar[row]), int(self.index.offset[row]), int(self.index.length[row])
                )
                target[...] = self.transform(content, chance).transpose(2, 0, 1)
            except (BrokenImage, OSError, EOFError) as error:
                errors.append((self.index.key[row].as_py(), str(error)))
            else:
                return row, errors
        raise DataError(f"{len(errors)} broken images one after the other: {'; '.join(map(': '.join, errors))}")

    def _tokens(self, rows: list[int]) -> Tensor:
        if not rows:
            return torch.zeros(0, self.max_length, dtype=torch.int64)
        captions = self.index.caption.take(pa.array(rows, pa.int64())).to_pylist()
        return self.tokenize(captions, self.max_length)
