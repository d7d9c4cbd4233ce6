"""The shape of a model: everything that decides its parameters' names and sizes, and nothing else."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from foundation.config import Config, value

RESNET_STRIDE = 32  # pixels of an image's side that one position of the last ResNet feature map stands for


class VisionConfig(Config):
    """The image tower: a Vision Transformer, or CLIP's ResNet with attention pooling (paper, Tables 6 and 7)."""

    kind: Literal["vit", "resnet"] = value("vit", "vit: Vision Transformer; resnet: CLIP's modified ResNet")
    image_size: int = value(224, "side of the square images", "pixels", ge=32)
    patch_size: int | None = value(None, "side of a patch; ViT only", "pixels", ge=1)
    width: int = value(
        ..., "ViT: features of a token; ResNet: of the stem (its output has 32 times as many)", "features", ge=2
    )
    layers: int | tuple[int, int, int, int] = value(..., "ViT: layers; ResNet: blocks in each of the four groups")
    heads: int = value(
        ..., "attention heads; cn_clip derives them: width / 64 (ViT, H/14: / 80), width * 32 / 64 (ResNet)", ge=1
    )
    activation: Literal["quick_gelu", "gelu"] = value(
        "quick_gelu", "in the ViT's perceptrons; every published Chinese-CLIP model, H/14 included, has quick_gelu"
    )

    @model_validator(mode="after")
    def _the_parts_fit(self) -> VisionConfig:
        problem = self._vit_problem() if self.kind == "vit" else self._resnet_problem()
        if problem:
            raise ValueError(problem)
        return self

    def _vit_problem(self) -> str:
        if self.patch_size is None or self.image_size % self.patch_size:
            return f"a vit needs a patch_size that divides image_size {self.image_size}; found {self.patch_size}"
        if not isinstance(self.layers, int):
            return f"a vit has one number of layers; found {self.layers}"
        return f"width {self.width} is not a multiple of heads {self.heads}" if self.width % self.heads else ""

    def _resnet_problem(self) -> str:
        if self.patch_size is not None:
            return f"a resnet has no patch_size; found {self.patch_size}"
        if isinstance(self.layers, int):
            return f"a resnet has four numbers of layers, such as [3, 4, 6, 3]; found {self.layers}"
        if self.image_size % RESNET_STRIDE:
            return f"image_size of a resnet is a multiple of {RESNET_STRIDE}; found {self.image_size}"
        features = self.width * 32
        return f"32 * width ({features}) is not a multiple of heads {self.heads}" if features % self.heads else ""


class TextConfig(Config):
    """The text tower: a BERT encoder without its pooler (paper, appendix A.1)."""

    vocab_size: int = value(21_128, "word pieces of the Chinese BERT vocabulary", "tokens", ge=1)
    hidden_size: int = value(768, "features of a token", "features", ge=1)
    layers: int = value(12, "encoder layers: 3 (RBT3), 12 (base), 24 (large)", "layers", ge=1)
    heads: int = value(12, "attention heads", ge=1)
    intermediate_size: int = value(3_072, "features between the two linear layers of a block", "features", ge=1)
    max_positions: int = value(512, "longest text that has a position embedding", "tokens", ge=2)
    dropout: float = value(0.1, "of hidden states and attention while training", "share", ge=0, lt=1)

    @model_validator(mode="after")
    def _the_heads_fit(self) -> TextConfig:
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}")
        return self


class ModelConfig(Config):
    """A two-tower model whose towers meet in `embed_dim` features."""

    embed_dim: int = value(
        ..., "features of an embedding that both towers project to (Tables 6 and 7)", "features", ge=1
    )
    vision: VisionConfig
    text: TextConfig = value(TextConfig(), "text tower")
