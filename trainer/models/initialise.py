"""Weights for a model from where others published them; each loader says exactly what does not fit."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import torch
from open_clip import pretrained
from torch import Tensor
from torch.nn import functional as F
from transformers import BertModel, ChineseCLIPModel

from foundation.hub import ModelError
from foundation.log import logger
from foundation.weights import read_state
from trainer.models.clip import ChineseCLIP
from trainer.models.exchange import from_transformers

POSITIONS = ("visual.positional_embedding", "visual.attnpool.positional_embedding")  # ViT, ResNet
NAMES_SHOWN = 8

log = logger("trainer")


class Sources(Protocol):
    """Where weights come from; None: they stay as they are. `trainer.config.Init` is one."""

    @property
    def image(self) -> str | None:
        """For `load_image_tower`."""

    @property
    def text(self) -> str | None:
        """For `load_text_tower`."""

    @property
    def checkpoint(self) -> str | None:
        """For `load_checkpoint`."""


def initialise(model: ChineseCLIP, sources: Sources) -> None:
    """Fill `model` in place, first from the checkpoint, then each tower from a source of its own.

    Raises:
        ModelError: a source cannot be read or does not fit.
    """
    if sources.checkpoint:
        load_checkpoint(model, sources.checkpoint)
    if sources.image:
        load_image_tower(model, sources.image)
    if sources.text:
        load_text_tower(model, sources.text)


def load_image_tower(model: ChineseCLIP, source: str) -> None:
    """Image tower, visual projection and temperature (paper, appendix A.2) from an OpenAI or open_clip model.

    Args:
        model: filled in place; its text tower stays as it is.
        source: a file (state dict, training checkpoint, TorchScript, safetensors), or open_clip's `NAME:PRETRAINED`.

    Raises:
        ModelError: no such file or tag, or weights that do not fit.
    """
    state = read_state([Path(source) if Path(source).is_file() else _download_open_clip(model, source)])
    wanted = {name: tensor for name, tensor in state.items() if _of_image(name)}
    _fill(model, wanted, set(filter(_of_image, model.state_dict())), source)


def load_text_tower(model: ChineseCLIP, source: str) -> None:
    """Text tower from a BERT in the Hugging Face layout: a folder or a hub id. Pooler and heads are discarded.

    `text_projection` stays random, as in the paper (appendix A.2).

    Raises:
        ModelError: there is no such model, or its weights do not fit.
    """
    try:
        bert, report = BertModel.from_pretrained(
            source, add_pooling_layer=False, output_loading_info=True, dtype=torch.float32, ignore_mismatched_sizes=True
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"{source}: no BERT that can be read: {error}") from error
    state = {f"bert.{name}": tensor for name, tensor in bert.state_dict().items() if name not in report["missing_keys"]}
    _fill(model, state, {name for name in model.state_dict() if name.startswith("bert.")}, source)


def load_checkpoint(model: ChineseCLIP, source: str) -> None:
    """All weights from a Chinese-CLIP checkpoint (.pt; `module.` prefixes and poolers are dropped), or from a Hugging
    Face ChineseCLIPModel (folder or hub id).

    Raises:
        ModelError: there is no such checkpoint, or its weights do not fit.
    """
    state = read_state([Path(source)]) if Path(source).is_file() else _read_transformers(source)
    state = {name: tensor for name, tensor in state.items() if not name.startswith("bert.pooler.")}
    _fill(model, state, set(model.state_dict()), source)


def resize_positions(embedding: Tensor, positions: int) -> Tensor:
    """Position embeddings [1 + n², width] for a square grid of `positions` - 1 cells, [positions, width].

    The first row (class token) stays; the grid is interpolated bicubically with aligned corners, as in cn_clip.
    """
    old, new = (math.isqrt(count - 1) for count in (len(embedding), positions))
    if old == new or 1 + old * old != len(embedding):
        return embedding  # the same grid, or none at all, which the comparison of shapes will tell
    grid = embedding[1:].float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=True)
    return torch.cat([embedding[:1].float(), grid.permute(0, 2, 3, 1).reshape(new * new, -1)])


def _of_image(name: str) -> bool:
    return name.startswith("visual.") or name == "logit_scale"


def _download_open_clip(model: ChineseCLIP, source: str) -> Path:
    name, colon, tag = source.partition(":")
    settings = pretrained.get_pretrained_cfg(name, tag) if colon else {}
    if not settings:
        known = pretrained.list_pretrained_tags_by_model(name)
        raise ModelError(
            f"{source}: no such file, and no NAME:PRETRAINED of open_clip; {name} has: {', '.join(known) or 'none'}"
        )
    trained_with = "quick_gelu" if settings.get("quick_gelu") else "gelu"
    if model.config.vision.kind == "vit" and model.config.vision.activation != trained_with:
        log.warning(
            "%s was trained with %s, the image tower has %s", source, trained_with, model.config.vision.activation
        )
    try:
        return Path(pretrained.download_pretrained(settings))
    except Exception as error:  # hub, network and disk errors of several libraries
        raise ModelError(f"{source}: download failed: {error}") from error


def _read_transformers(source: str) -> dict[str, Tensor]:
    try:
        clip, report = ChineseCLIPModel.from_pretrained(source, output_loading_info=True, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{source}: no Chinese-CLIP checkpoint (.pt) or Hugging Face folder: {error}") from error
    if report["missing_keys"]:
        raise ModelError(f"{source}: {_listed('missing', report['missing_keys'])}")
    return from_transformers(clip.state_dict())


def _fill(model: ChineseCLIP, state: dict[str, Tensor], expected: set[str], source: str) -> None:
    """Copy `state`, which must have just the `expected` names and the model's shapes, into the model."""
    own = model.state_dict()
    for name in POSITIONS:
        if name in state and name in own and state[name].shape[1:] == own[name].shape[1:]:
            state[name] = resize_positions(state[name], len(own[name]))
    # Counters of BatchNorm are in no OpenAI file, and older BERT files hold position ids; neither is a weight.
    expected = {name for name in expected if not name.endswith("num_batches_tracked") or name in state}
    state = {name: tensor for name, tensor in state.items() if not name.endswith("embeddings.position_ids")}
    shapes = [
        f"{name} {tuple(tensor.shape)} for {tuple(own[name].shape)}"
        for name, tensor in state.items()
        if name in own and tensor.shape != own[name].shape
    ]
    problems = [
        _listed("missing", expected - set(state)),
        _listed("unexpected", set(state) - expected),
        _listed("of another shape", shapes),
    ]
    if any(problems):
        raise ModelError(f"{source} does not fit the model: {'; '.join(filter(None, problems))}")
    model.load_state_dict(state, strict=False)


def _listed(what: str, names: Iterable[str]) -> str:
    ordered = sorted(names)
    if not ordered:
        return ""
    more = f", and {len(ordered) - NAMES_SHOWN} more" if len(ordered) > NAMES_SHOWN else ""
    return f"{len(ordered)} {what}: {', '.join(ordered[:NAMES_SHOWN])}{more}"
