"""The contrastive loss of CLIP over the global batch, exact, without ever holding the matrix of all logits.

Plain code keeps several matrices of batch × batch (at 32,768 pairs 4 GiB each). Here the logits come in tiles of
chunk × chunk: the forward pass keeps only the logarithm of each row's and each column's sum of exponentials, the backward
pass computes the tiles again (the idea of Inf-CL, arXiv 2410.17243). That costs one more matrix product than the three of
plain code, and saves most of its traffic through memory.

Under torch.distributed each rank computes the rows of its own images against the texts of all ranks, once. Column sums are
reduced (2 × N numbers), texts gathered and their gradients reduce-scattered (N × D numbers each): as much traffic as
gathering both sides, with a fifth less computation than each rank doing its own rows and its own columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

EXPONENT_SPAN = 60.0
"""Up to e^±60 all sums of a float32 batch are safe: 87 is the end of the range, e^-27 is lost against one in 2^24."""


def contrastive_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor,
    chunk: int = 1024,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Symmetric cross entropy over the pairs of all ranks: the mean of image → text and text → image (paper, 2.3 and A.2).

    Args:
        image_features: [B, D] of this rank, normalised; float32, float64, bfloat16 or float16. Row i belongs to text i.
        text_features: [B, D], the same dtype. B is the same on all ranks.
        logit_scale: scalar, the factor on the cosines (already exponentiated).
        chunk: side of a tile. Beyond features and gradients (N × D, N the global batch) two tiles are held.
        group: the ranks of the global batch; None: all. Without torch.distributed: this process.

    Returns:
        Scalar, float32 (float64 for float64), the same on all ranks. The gradients on a rank are those of the global loss
        *times the number of ranks*, because DistributedDataParallel takes the mean over ranks: after it, parameters have
        the gradient of the global loss, as one process would have it. This includes the logit scale.

    bfloat16 features are multiplied in bfloat16 (TF32 on a GPU, which holds them exactly) and summed in float32; so are
    their gradients. Exponentials and sums are float32 always. Not run on a GPU so far.

    Raises:
        ValueError: shapes or dtypes do not fit.
    """
    if image_features.shape != text_features.shape or image_features.ndim != 2 or not len(image_features):
        shapes = f"{tuple(image_features.shape)} and {tuple(text_features.shape)}"
        raise ValueError(f"expected two [B, D] with B > 0, found {shapes}")
    if image_features.dtype != text_features.dtype or not image_features.is_floating_point():
        raise ValueError(f"expected one floating dtype, found {image_features.dtype} and {text_features.dtype}")
    if logit_scale.numel() != 1 or chunk < 1:
        raise ValueError(f"expected one logit scale and chunk > 0, found {tuple(logit_scale.shape)} and {chunk}")
    loss: Tensor = _ContrastiveLoss.apply(image_features, text_features, logit_scale, chunk, group)
    return loss


class _ContrastiveLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, texts: Tensor, scale: Tensor, chunk: int, group: Any) -> Tensor:
        with _arithmetic(images):
            all_texts = _gather(texts, group)
            strip = _Strip.of(images, all_texts, scale, chunk, group)
            rows, columns, positives = _log_sums(strip)
            columns = _reduce_log_sums(columns, group)
            total = _sum_over_ranks((rows + strip.own(columns)).sum() - 2 * positives, group)
            loss = (total / (2 * len(columns))).to(strip.images.dtype)
        ctx.save_for_backward(images, all_texts, scale, rows, columns)
        ctx.chunk, ctx.group = chunk, group
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        images, all_texts, scale, rows, columns = ctx.saved_tensors
        for_images, for_texts, for_scale = ctx.needs_input_grad[:3]
        with _arithmetic(images):
            strip = _Strip.of(images, all_texts, scale, ctx.chunk, ctx.group)
            by_image, by_text = _gradients(strip, rows, columns, for_images or not for_texts, for_texts)
            by_text = _own_part(by_text, ctx.group)
            weight = grad / (2 * len(images))  # 1 / (2 N), times the ranks
            grads: list[Tensor | None] = [None] * 5
            if for_scale:  # either side has it: the sum of G ∘ cosines, over all ranks
                pair = (strip.images, by_image) if by_image is not None else (strip.own(strip.texts), by_text)
                grads[2] = (torch.linalg.vecdot(*pair).sum() * weight).to(scale.dtype).reshape(scale.shape)
            if for_images and by_image is not None:
                grads[0] = by_image.mul_(weight * strip.scale).to(images.dtype)
            if for_texts and by_text is not None:
                grads[1] = by_text.mul_(weight * strip.scale).to(images.dtype)
        return tuple(grads)


@dataclass(frozen=True)
class _Strip:
    """The rows of the global logits that belong to this rank's images: logits[i, j] = scale · images[i] · texts[j]."""

    images: Tensor  # [B, D], in the dtype of the sums
    texts: Tensor  # [N, D], all ranks' in order
    scale: Tensor  # scalar
    first: int  # the column of image 0's own text
    chunk: int
    rounds: bool  # products round their factors to bfloat16: exact for features, not for scaled ones

    @staticmethod
    def of(images: Tensor, all_texts: Tensor, scale: Tensor, chunk: int, group: Any) -> _Strip:
        """The strip of this rank, from its images and the texts of all."""
        first, rounds = _rank(group) * len(images), images.dtype == torch.bfloat16
        return _Strip(_wide(images), _wide(all_texts), _wide(scale).reshape(()), first, chunk, rounds)

    def own(self, of_texts: Tensor) -> Tensor:
        """The part of something by text that belongs to this rank's pairs."""
        return of_texts[self.first : self.first + len(self.images)]

    def tiles(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """Rows, columns and logits of each tile. The tile is the caller's to overwrite, until the next one."""
        side = (min(self.chunk, len(self.images)), min(self.chunk, len(self.texts)))
        buffer = self.images.new_empty(side[0] * side[1])
        for rows in _slices(len(self.images), self.chunk):
            images = self.images[rows] if self.rounds else self.images[rows] * self.scale
            for columns in _slices(len(self.texts), self.chunk):
                texts = self.texts[columns]
                tile = buffer[: len(images) * len(texts)].view(len(images), len(texts))
                torch.mm(images, texts.T, out=tile)
                yield rows, columns, tile.mul_(self.scale) if self.rounds else tile

    def positives(self, rows: slice, columns: slice, tile: Tensor) -> Tensor:
        """The tile's entries of matching pairs (a view; few tiles have any)."""
        return tile.diagonal(rows.start + self.first - columns.start)

    def shift(self) -> Tensor:
        """What to take off every logit so that, features being normalised, no exponent is above EXPONENT_SPAN."""
        return (self.scale - EXPONENT_SPAN).clamp(min=0)


def _log_sums(strip: _Strip) -> tuple[Tensor, Tensor, Tensor]:
    """Logarithms of the sums of exponentials, of each row [B] and of each column over this rank's rows [N]; sum of positives.

    In float64, as is all that is summed over tiles: at a scale of 100 float32 would round logarithms to 4e-6.
    """
    rows, columns, positives = _vectors(strip, 0.0)
    shift = strip.shift()
    for row, column, tile in strip.tiles():
        positives += strip.positives(row, column, tile).sum(dtype=torch.float64)
        tile.sub_(shift).exp_()  # one exponential for both directions
        rows[row] += tile.sum(1)
        columns[column] += tile.sum(0)
    rows, columns = rows.log_().add_(shift), columns.log_().add_(shift)
    return (rows, columns, positives) if _in_span(shift, rows, columns) else _careful_log_sums(strip)


def _careful_log_sums(strip: _Strip) -> tuple[Tensor, Tensor, Tensor]:
    """The same for any logits: each row and column of a tile by its own maximum."""
    rows, columns, positives = _vectors(strip, -math.inf)
    for row, column, tile in strip.tiles():
        positives += strip.positives(row, column, tile).sum(dtype=torch.float64)
        rows[row] = torch.logaddexp(rows[row], _log_sum(tile, 1))
        columns[column] = torch.logaddexp(columns[column], _log_sum(tile, 0))
    return rows, columns, positives


def _vectors(strip: _Strip, start: float) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of rows, of columns, and of positives, before any tile."""
    rows, columns = (torch.full_like(of[:, 0], start, dtype=torch.float64) for of in (strip.images, strip.texts))
    return rows, columns, rows.new_zeros(())


def _log_sum(tile: Tensor, dim: int) -> Tensor:
    """logsumexp whose result is in float64: the maximum is exact, the remainder small."""
    greatest = tile.amax(dim, keepdim=True)
    return (tile - greatest).exp_().sum(dim).double().log_().add_(greatest.squeeze(dim))


def _in_span(shift: Tensor, *log_sums: Tensor) -> bool:
    """Whether exponentials of shifted logits neither overflowed nor vanished where they matter. False for NaN."""
    low, high = (torch.stack([(sums - shift).aminmax()[i] for sums in log_sums]) for i in (0, 1))
    return bool((low.min() >= -EXPONENT_SPAN) & (high.max() <= EXPONENT_SPAN + 20))


def _gradients(
    strip: _Strip, rows: Tensor, columns: Tensor, for_images: bool, for_texts: bool
) -> tuple[Tensor | None, Tensor | None]:
    """G · texts [B, D] and Gᵀ · images [N, D] with G = softmax over rows + softmax over columns - 2 · identity."""
    by_image = torch.zeros_like(strip.images) if for_images else None
    by_text = torch.zeros_like(strip.texts) if for_texts else None
    shift = strip.shift()
    scratch = strip.images.new_empty(min(strip.chunk, len(rows)) * min(strip.chunk, len(columns)))
    tile_dtype = scratch.dtype
    one_exponential = _in_span(shift, rows, columns)
    row_factors, column_factors = ((shift - sums).exp().to(tile_dtype) for sums in (rows, columns))
    for row, column, tile in strip.tiles():
        by_columns = scratch[: tile.numel()].view_as(tile)
        if one_exponential:
            torch.add(row_factors[row, None], column_factors[None, column], out=by_columns)
            tile.sub_(shift).exp_().mul_(by_columns)
        else:
            _subtract(by_columns.copy_(tile), columns[None, column]).exp_()
            _subtract(tile, rows[row, None]).exp_().add_(by_columns)
        strip.positives(row, column, tile).sub_(2)
        if by_image is not None:
            by_image[row].addmm_(tile, strip.texts[column])
        if by_text is not None:
            by_text[column].addmm_(tile.T, strip.images[row])
    return by_image, by_text


def _subtract(tile: Tensor, log_sums: Tensor) -> Tensor:
    """In place, a float64 vector off a tile of perhaps float32: the large part first, then what its rounding left."""
    large = log_sums.to(tile.dtype)
    return tile.sub_(large).sub_((log_sums - large).to(tile.dtype))


def _wide(features: Tensor) -> Tensor:
    """In the dtype of the sums: float32, or float64 as it came."""
    return features if features.dtype == torch.float64 else features.float()


def _slices(length: int, chunk: int) -> list[slice]:
    return [slice(start, min(start + chunk, length)) for start in range(0, length, chunk)]


@contextmanager
def _arithmetic(features: Tensor) -> Iterator[None]:
    """Without autocast, which would round logits; products of bfloat16 features in hardware that is fast at them."""
    fast = "tf32" if features.is_cuda else "bf16"
    setting: Any = torch.backends.cuda.matmul if features.is_cuda else getattr(torch.backends.mkldnn, "matmul", None)
    before = getattr(setting, "fp32_precision", None)  # torch before 2.9 has no such setting: then plain float32
    try:
        if before is not None and features.dtype == torch.bfloat16:
            setting.fp32_precision = fast
        with torch.autocast(features.device.type, enabled=False):
            yield
    finally:
        if before is not None and features.dtype == torch.bfloat16:
            setting.fp32_precision = before


def _ranks(group: Any) -> int:
    return dist.get_world_size(group) if dist.is_available() and dist.is_initialized() else 1


def _rank(group: Any) -> int:
    return dist.get_rank(group) if _ranks(group) > 1 else 0


def _gather(features: Tensor, group: Any) -> Tensor:
    """[B, D] of each rank → [N, D] on all."""
    if _ranks(group) == 1:
        return features
    all_texts = features.new_empty(len(features) * _ranks(group), features.shape[1])
    dist.all_gather_into_tensor(all_texts, features.contiguous(), group=group)
    return all_texts


def _reduce_log_sums(log_sums: Tensor, group: Any) -> Tensor:
    """Logarithm of the sum over ranks of the exponentials."""
    if _ranks(group) == 1:
        return log_sums
    greatest = log_sums.clone()
    dist.all_reduce(greatest, dist.ReduceOp.MAX, group=group)
    return _sum_over_ranks((log_sums - greatest).exp_(), group).log_().add_(greatest)


def _sum_over_ranks(tensor: Tensor, group: Any) -> Tensor:
    if _ranks(group) > 1:
        dist.all_reduce(tensor, group=group)
    return tensor


def _own_part(by_text: Tensor | None, group: Any) -> Tensor | None:
    """The sum over ranks of the gradients of this rank's texts."""
    if by_text is None or _ranks(group) == 1:
        return by_text
    own = by_text.new_empty(len(by_text) // _ranks(group), by_text.shape[1])
    dist.reduce_scatter_tensor(own, by_text, group=group)
    return own
