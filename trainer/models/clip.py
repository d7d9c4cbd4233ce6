"""Chinese CLIP, composed of open_clip's image towers and transformers' BERT.

Nothing is rewritten, so every parameter carries the name it has in Chinese-CLIP's own checkpoints: `visual.*`, `bert.*`,
`text_projection` and `logit_scale`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import NamedTuple

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import PatchDropout, QuickGELU, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint
from transformers import BertConfig, BertModel

from foundation.errors import InvalidInput
from trainer.models.config import ModelConfig, TextConfig

PAD = 0  # id of [PAD] in the Chinese BERT vocabulary; attention leaves it out
FIRST_TEMPERATURE = 0.07  # the temperature that CLIP's training starts from (arXiv 2103.00020, section 2.5)


class UnsupportedModel(InvalidInput, ValueError):
    """Something that this architecture cannot do."""


class Tower(NamedTuple):
    """What belongs to one tower: modules to switch to `eval()` and parameters, by name, to freeze."""

    modules: tuple[nn.Module, ...]
    parameters: dict[str, nn.Parameter]


class ChineseCLIP(nn.Module):
    """An image tower and a text tower that embed into one space; weights are random until `initialise`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = _image_tower(config)
        self.bert = BertModel(_bert_config(config.text), add_pooling_layer=False)
        self.text_projection = nn.Parameter(torch.empty(config.text.hidden_size, config.embed_dim))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / FIRST_TEMPERATURE)))
        nn.init.normal_(self.text_projection, std=config.text.hidden_size**-0.5)

    def encode_image(self, images: Tensor) -> Tensor:
        """Embeddings [B, D], not normalised, of images [B, 3, H, W] (floats, normalised with CLIP's mean and deviation)."""
        return self.visual(images.to(self.visual.conv1.weight.dtype))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embeddings [B, D], not normalised, of token ids [B, L] (int64, padded with 0): the projected state at [CLS]."""
        states = self.bert(input_ids=tokens, attention_mask=tokens.ne(PAD)).last_hidden_state
        return states[:, 0] @ self.text_projection

    def forward(
        self, images: Tensor | None = None, tokens: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Normalised embeddings [B, D] of images and of texts, None where no input was given, and exp(logit_scale).

        The one entrance for `DistributedDataParallel`, whose gradients are averaged only after a call of the module itself.
        """
        image_features = None if images is None else F.normalize(self.encode_image(images), dim=-1)
        text_features = None if tokens is None else F.normalize(self.encode_text(tokens), dim=-1)
        return image_features, text_features, self.logit_scale.exp()

    def towers(self) -> dict[str, Tower]:
        """`image`: visual.*, `text`: bert.* and text_projection. `logit_scale` belongs to neither."""
        image = {name: parameter for name, parameter in self.named_parameters() if name.startswith("visual.")}
        text = {
            name: parameter
            for name, parameter in self.named_parameters()
            if name.startswith(("bert.", "text_projection"))
        }
        return {"image": Tower((self.visual,), image), "text": Tower((self.bert,), text)}

    def set_gradient_checkpointing(self, enable: bool) -> None:
        """Keep only the inputs of each block for the backward pass, which computes the rest again. Gradients stay equal."""
        self.visual.set_grad_checkpointing(enable)
        if enable:
            self.bert.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        else:
            self.bert.gradient_checkpointing_disable()

    def set_patch_dropout(self, share: float) -> None:
        """Leave out this share of an image's patches, in train mode only (arXiv 2212.00794). Draws from the CPU's generator.

        Raises:
            ValueError: `share` is not in [0, 1).
            UnsupportedModel: the image tower is a ResNet, which has no patches.
        """
        if not 0 <= share < 1:
            raise ValueError(f"the share of patches to leave out is at least 0 and below 1; found {share}")
        if share and self.config.vision.kind != "vit":
            raise UnsupportedModel(f"patch dropout needs a vit; this image tower is a {self.config.vision.kind}")
        if self.config.vision.kind == "vit":
            dropout = PatchDropout(share) if share else nn.Identity()
            self.visual.patch_dropout = dropout.train(self.visual.training)


def build_model(config: ModelConfig) -> ChineseCLIP:
    """A model with random weights, on the default device (`with torch.device("meta")` makes it cost nothing)."""
    return ChineseCLIP(config)


class ResNet(ModifiedResNet):
    """open_clip's ResNet with the one thing it lacks: gradient checkpointing."""

    checkpointing = False

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the inner activations of each residual block again in the backward pass."""
        self.checkpointing = enable

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings [B, D] of images [B, 3, H, W]."""
        x = self.stem(x)
        for group in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in group:
                x = self._run(block, x)
        return self.attnpool(x)

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        if not (self.checkpointing and torch.is_grad_enabled()):
            return block(x)
        return checkpoint(block, x, use_reentrant=False, context_fn=partial(_checkpoint_contexts, block))


@contextmanager
def statistics_untouched(module: nn.Module) -> Iterator[None]:
    """Forward passes inside leave running means and variances of BatchNorm as they are; results do not change.

    For everything that runs a forward pass twice for one step: counted once, the statistics are those of the plain step.
    """
    parts = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    kept = [(part.momentum, part.num_batches_tracked) for part in parts]
    for part in parts:
        part.momentum, part.num_batches_tracked = 0.0, None  # the new value weighs nothing, and is not counted
    try:
        yield
    finally:
        for part, (momentum, counter) in zip(parts, kept, strict=True):
            part.momentum, part.num_batches_tracked = momentum, counter


def _checkpoint_contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), statistics_untouched(block)


def _image_tower(config: ModelConfig) -> VisionTransformer | ResNet:
    vision = config.vision
    if vision.kind == "resnet":
        return ResNet(vision.layers, config.embed_dim, vision.heads, vision.image_size, vision.width)
    return VisionTransformer(
        image_size=vision.image_size,
        patch_size=vision.patch_size,
        width=vision.width,
        layers=vision.layers,
        heads=vision.heads,
        mlp_ratio=4.0,
        output_dim=config.embed_dim,
        act_layer=QuickGELU if vision.activation == "quick_gelu" else nn.GELU,
    )


def _bert_config(text: TextConfig) -> BertConfig:
    return BertConfig(
        vocab_size=text.vocab_size,
        hidden_size=text.hidden_size,
        num_hidden_layers=text.layers,
        num_attention_heads=text.heads,
        intermediate_size=text.intermediate_size,
        max_position_embeddings=text.max_positions,
        hidden_dropout_prob=text.dropout,
        attention_probs_dropout_prob=text.dropout,
        layer_norm_eps=1e-12,
        pad_token_id=PAD,
    )
