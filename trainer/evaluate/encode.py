"""Features of an evaluation set, with images prepared as Chinese-CLIP prepares them."""

from __future__ import annotations

import copy
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from trainer.data.augment import MEAN, STD
from trainer.evaluate.sources import EvaluationSetError
from trainer.tokenizer import tokenize

BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow raises on bad bytes


def encode_images(
    model: nn.Module, images: Iterable[tuple[str, bytes]], image_size: int, batch_size: int, device: torch.device
) -> torch.Tensor:
    """Features of encoded images, [I, D], float32, of length 1, on `device`. A batch is decoded while the last one is encoded.

    Raises:
        EvaluationSetError: an image that does not decode; none is skipped, since recall on fewer images says nothing.
    """
    mean, std = (torch.tensor(numbers, device=device).view(1, 3, 1, 1) for numbers in (MEAN, STD))
    weights = next(model.parameters()).dtype
    features = []
    for pixels in _decoded(images, image_size, batch_size):
        batch = (pixels.to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255 - mean) / std
        features.append(F.normalize(model.encode_image(batch.to(weights)).float(), dim=-1))  # type: ignore[operator]
    return torch.cat(features)


def encode_texts(
    model: nn.Module, texts: Sequence[str], batch_size: int, device: torch.device, max_length: int = 52
) -> torch.Tensor:
    """Features of texts, [T, D], float32, of length 1, on `device`. Texts of like length share a batch, so few are padded."""
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    batches = []
    for rows in _batches(order, batch_size):
        tokens = tokenize([texts[row] for row in rows], max_length).to(device)
        batches.append(F.normalize(model.encode_text(tokens).float(), dim=-1))  # type: ignore[operator]
    features = torch.cat(batches)
    return torch.empty_like(features).index_copy_(0, torch.tensor(order, device=device), features)


def pixels_of(content: bytes, image_size: int) -> np.ndarray:
    """uint8 [image_size, image_size, 3]: squashed to the square, bicubic, then RGB, in the order of cn_clip's transform."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.resize((image_size, image_size), Image.Resampling.BICUBIC).convert("RGB"))


@contextmanager
def ready(model: nn.Module, dtype: torch.dtype) -> Iterator[nn.Module]:
    """The model in eval mode with weights of `dtype`, without gradients.

    The model itself where its weights are of that type (each module gets its mode back: a frozen tower stays in eval mode),
    else a copy, which on a CPU is several times faster than autocast.
    """
    with torch.no_grad():
        if next(model.parameters()).dtype != dtype:
            yield copy.deepcopy(model).to(dtype).eval()
            return
        modes = [(module, module.training) for module in model.modules()]
        try:
            yield model.eval()
        finally:
            for module, training in modes:
                module.training = training


def _decoded(images: Iterable[tuple[str, bytes]], image_size: int, batch_size: int) -> Iterator[torch.Tensor]:
    """uint8 [B, image_size, image_size, 3], one batch ahead of what is being used."""
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:

        def decode(name: str, content: bytes) -> np.ndarray:
            try:
                return pixels_of(content, image_size)
            except BROKEN as error:
                raise EvaluationSetError(
                    f"image {name}: expected an image; {len(content)} bytes do not decode: {error}"
                ) from None

        waiting: list[Future[np.ndarray]] = []
        for batch in _batches(images, batch_size):
            submitted = [pool.submit(decode, name, content) for name, content in batch]
            if waiting:
                yield _stacked(waiting)
            waiting = submitted
        if waiting:
            yield _stacked(waiting)


def _stacked(futures: Sequence[Future[np.ndarray]]) -> torch.Tensor:
    return torch.from_numpy(np.stack([future.result() for future in futures]))


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
