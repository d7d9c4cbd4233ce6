"""How a stage runs the two towers: which train, which are frozen, and in what precision."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from foundation.devices import pick_dtype
from trainer.config import Stage, TrainRecipe
from trainer.models.clip import ChineseCLIP


class StageModel(nn.Module):
    """The model as one stage trains it.

    A frozen tower takes no gradient and stays in eval mode, so BatchNorm statistics and dropout are off; it runs on a copy
    of its weights in the low precision, which is several times faster than autocast over float32 weights. The model's own
    weights are not touched by that.
    """

    def __init__(self, model: ChineseCLIP, stage: Stage, recipe: TrainRecipe, device: torch.device) -> None:
        super().__init__()
        self.model = model
        self.frozen = frozenset(stage.freeze)
        self.dtype, self.device = pick_dtype(recipe.precision, device), device
        model.set_gradient_checkpointing(stage.gradient_checkpointing)
        model.set_patch_dropout(stage.patch_dropout)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(tower_of(name) not in self.frozen)
        self._copies = {name: self._copy(name) for name in self.frozen}  # in a dict: no part of the state

    def _copy(self, tower: str) -> ChineseCLIP:
        model = copy.deepcopy(self.model).eval().requires_grad_(False)
        for name in ("visual",) if tower == "text" else ("bert",):
            setattr(model, name, nn.Identity())  # the other tower's weights are not needed twice
        return model.to(self.device, self.dtype)

    def train(self, mode: bool = True) -> StageModel:
        """Frozen towers stay in eval mode."""
        super().train(mode)
        if "image" in self.frozen:
            self.model.visual.eval()
        if "text" in self.frozen:
            self.model.bert.eval()
        return self

    @property
    def logit_scale(self) -> nn.Parameter:
        """Logarithm of the factor on the cosines."""
        return self.model.logit_scale

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] → [B, D], float32, not normalised."""
        if "image" in self.frozen:
            with torch.no_grad():
                return self._copies["image"].encode_image(images.to(self.dtype)).float()
        with autocast(self.device, self.dtype):
            return self.model.encode_image(images).float()

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """[B, L] → [B, D], float32, not normalised."""
        if "text" in self.frozen:
            with torch.no_grad():
                return self._copies["text"].encode_text(tokens).float()
        with autocast(self.device, self.dtype):
            return self.model.encode_text(tokens).float()

    def forward(self, images: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Both features, and the factor on the cosines: what DistributedDataParallel wraps."""
        return self.encode_image(images), self.encode_text(tokens), self.logit_scale.exp()


def tower_of(parameter: str) -> str:
    """image, text or both (the temperature), by the name of a parameter."""
    if parameter.startswith("visual."):
        return "image"
    return "text" if parameter.startswith("bert.") or parameter == "text_projection" else "both"


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Autocast to `dtype`; nothing in float32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
