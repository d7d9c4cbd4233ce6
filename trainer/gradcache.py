"""Gradient caching (GradCache, arXiv 2101.06983): a large batch's exact contrastive gradient, a chunk in memory at a time.

The loss needs the features of all pairs at once, but not their activations. So a step runs each chunk forward without a
graph, takes the loss and its gradients at the features, then runs each chunk forward again, from the same state of the
random generators, and backward from those gradients. Memory is that of one chunk, the price is a second forward pass of the
towers that train.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from trainer.loss import contrastive_loss

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(normalised image features [B, D], normalised text features [B, D], factor on the cosines) → scalar."""


def plain_step(
    model: nn.Module,
    images: Tensor,
    tokens: Tensor,
    loss_fn: Loss = contrastive_loss,
    scaler: torch.amp.GradScaler | None = None,
) -> Tensor:
    """Forward and backward of a whole batch at once; arguments and result as `cached_step`'s."""
    device = _inner(model).logit_scale.device
    image_features, text_features, scale = model(
        images.to(device, non_blocking=True), tokens.to(device, non_blocking=True)
    )
    loss = loss_fn(_normalised(image_features), _normalised(text_features), scale)
    _scaled(loss, scaler).backward()
    return loss.detach()


def cached_step(
    model: nn.Module,
    images: Tensor,
    tokens: Tensor,
    chunk: int,
    loss_fn: Loss = contrastive_loss,
    scaler: torch.amp.GradScaler | None = None,
) -> Tensor:
    """Adds the gradient of the batch's loss to the parameters' `.grad`, holding activations of `chunk` pairs only.

    The same gradient as one graph over all chunks gives, dropout included; with dropout off and no BatchNorm in training,
    the same as `plain_step`'s. BatchNorm in training takes its statistics from each chunk, as it does from each rank; its
    running statistics move once per chunk. A tower whose features need no gradient runs once.

    Args:
        model: has encode_image, encode_text ([B, …] → [B, D], not normalised) and logit_scale (logarithm); calling it with
            both inputs gives both features, in this order, and the exponentiated scale. It may be wrapped in
            DistributedDataParallel: gradients are then exchanged in the last chunk's backward pass only, which goes through
            the wrapper's forward (a frozen tower computes that one chunk twice). Ranks may differ in their number of chunks.
        images: [B, 3, H, W], tokens: [B, L]; each chunk is moved to the model's device, so they may stay on the host.
        chunk: pairs in memory at a time.
        loss_fn: sees all features of this rank, normalised in float32.
        scaler: of float16 training; scales the gradients as its `scale(loss).backward()` would.

    Returns:
        The loss, scalar, without a graph. Works under autocast, or with towers that open it themselves. The CUDA path has
        not been run on a GPU so far.

    Raises:
        ValueError: chunk is not positive, or the numbers of images and texts differ.
    """
    if chunk < 1 or len(images) != len(tokens) or not len(images):
        raise ValueError(f"expected chunk > 0 and as many images as texts, found {chunk}, {len(images)}, {len(tokens)}")
    inner = _inner(model)
    pairs = list(zip(images.split(chunk), tokens.split(chunk), strict=True))
    image_leaf, text_leaf, states = _first_pass(inner, pairs)
    scale = inner.logit_scale.detach().exp().requires_grad_(inner.logit_scale.requires_grad)
    loss = loss_fn(_normalised(image_leaf), _normalised(text_leaf), scale)
    _scaled(loss, scaler).backward()
    grads = [[None] * len(pairs) if leaf.grad is None else leaf.grad.split(chunk) for leaf in (image_leaf, text_leaf)]
    torch.clear_autocast_cache()  # under an autocast of the caller's: casts made without a graph must not be used again
    with torch.random.fork_rng([inner.logit_scale.device] if inner.logit_scale.is_cuda else []):
        for number, (pair, state, *grad) in enumerate(zip(pairs, states, *grads, strict=True)):
            last = number == len(pairs) - 1
            _second_pass(model, pair, state, [*grad, scale.grad if last else None], exchange=last)
    return loss.detach()


_State = tuple[Tensor, Tensor | None]  # of the CPU's generator, and of the CUDA device's


def _first_pass(inner: Any, pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, list[list[_State]]]:
    """Both towers' features as leaves, and each chunk's random state before each tower.

    The first chunk runs with a graph, only to learn which tower's features need a gradient.
    """
    device = inner.logit_scale.device
    states: list[list[_State]] = []
    features_of: tuple[list[Tensor], list[Tensor]] = ([], [])
    trains = [False, False]
    with _batchnorm_kept(inner):
        for pair in pairs:
            states.append([])
            for side, encode in enumerate((inner.encode_image, inner.encode_text)):
                states[-1].append(_random_state(device))
                with torch.set_grad_enabled(len(states) == 1):
                    features = encode(pair[side].to(device, non_blocking=True))
                trains[side] |= features.requires_grad
                features_of[side].append(features.detach())
                del features  # and its graph, before the next one is built
    image_leaf, text_leaf = (torch.cat(features_of[side]).requires_grad_(trains[side]) for side in (0, 1))
    return image_leaf, text_leaf, states


def _second_pass(
    model: nn.Module, pair: tuple[Tensor, Tensor], states: list[_State], grads: list[Tensor | None], exchange: bool
) -> None:
    """Forward with a graph, and backward from the gradients of image features, text features and scale."""
    wrapped = isinstance(model, DistributedDataParallel)
    with model.no_sync() if wrapped and not exchange else nullcontext():  # type: ignore[operator]
        if wrapped and exchange:  # only the wrapper's own forward makes it exchange gradients
            device = _inner(model).logit_scale.device
            _set_random_state(states[0], device)
            outputs = model(*(inputs.to(device, non_blocking=True) for inputs in pair))
        else:
            outputs = _again(_inner(model), pair, states, [grad is not None for grad in grads])
        given = [
            (output, grad)
            for output, grad in zip(outputs, grads, strict=True)
            if output is not None and grad is not None
        ]
        if given:
            torch.autograd.backward([output for output, _ in given], [grad for _, grad in given])


def _again(inner: Any, pair: tuple[Tensor, Tensor], states: list[_State], wanted: list[bool]) -> list[Tensor | None]:
    """Image features, text features and scale, where wanted, from the first pass's random states."""
    device = inner.logit_scale.device
    outputs: list[Tensor | None] = []
    for side, encode in enumerate((inner.encode_image, inner.encode_text)):
        _set_random_state(states[side], device)
        outputs.append(encode(pair[side].to(device, non_blocking=True)) if wanted[side] else None)
    return [*outputs, inner.logit_scale.exp() if wanted[2] else None]


def _inner(model: nn.Module) -> Any:
    return model.module if isinstance(model, DistributedDataParallel) else model


def _random_state(device: torch.device) -> _State:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state: _State, device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)


@contextmanager
def _batchnorm_kept(model: nn.Module) -> Iterator[None]:
    """Puts running statistics back afterwards: the second pass moves them."""
    buffers = [buffer for module in model.modules() if isinstance(module, _BatchNorm) for buffer in module.buffers()]
    before = [buffer.clone() for buffer in buffers]
    yield
    for buffer, value in zip(buffers, before, strict=True):
        buffer.copy_(value)


def _normalised(features: Tensor) -> Tensor:
    """To length 1, in float32 or wider."""
    return F.normalize(features if features.dtype == torch.float64 else features.float(), dim=-1)


def _scaled(loss: Tensor, scaler: torch.amp.GradScaler | None) -> Tensor:
    return loss if scaler is None else scaler.scale(loss)
