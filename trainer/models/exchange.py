"""Weights out to, and back from, the libraries that people use Chinese CLIP with: cn_clip and transformers."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor
from transformers import ChineseCLIPConfig, ChineseCLIPImageProcessor, ChineseCLIPModel, ChineseCLIPProcessor

from foundation.errors import InvalidInput
from trainer.models.clip import ChineseCLIP
from trainer.models.config import ModelConfig
from trainer.tokenizer import transformers_tokenizer

# Parts of names here and in transformers, applied in this order; `pre_layrnorm` is spelt so there.
NAMES = (
    ("visual.class_embedding", "vision_model.embeddings.class_embedding"),
    ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    ("visual.conv1.", "vision_model.embeddings.patch_embedding."),
    ("visual.ln_pre.", "vision_model.pre_layrnorm."),
    ("visual.ln_post.", "vision_model.post_layernorm."),
    ("visual.transformer.resblocks.", "vision_model.encoder.layers."),
    (".attn.", ".self_attn."),
    (".ln_1.", ".layer_norm1."),
    (".ln_2.", ".layer_norm2."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
    ("bert.", "text_model."),
)
PROJECTIONS = {
    "visual.proj": "visual_projection.weight",
    "text_projection": "text_projection.weight",
}  # stored transposed
QKV = "qkv"


class ExportError(InvalidInput, ValueError):
    """A model that the layout asked for cannot describe."""


def save_cn_clip(model: ChineseCLIP, path: Path) -> None:
    """Write a checkpoint that `cn_clip.clip.load_from_name(path, vision_model_name=…, text_model_name=…,
    input_resolution=…)` loads, provided that one of cn_clip's own configurations describes the model.

    Raises:
        ExportError: the model's ViT has another activation than quick_gelu, the only one that cn_clip computes.
    """
    vision = model.config.vision
    if vision.kind == "vit" and vision.activation != "quick_gelu":
        raise ExportError(f"cn_clip computes quick_gelu only; this model's activation is {vision.activation}")
    state = {f"module.{name}": tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    torch.save({"epoch": 0, "step": 0, "name": "zhclip", "state_dict": state}, path)


def save_transformers(model: ChineseCLIP, folder: Path) -> None:
    """Write a folder that transformers' `ChineseCLIPModel` and `ChineseCLIPProcessor` load: weights, configuration, image
    processor (the whole image squeezed into the square, bicubic, as in the paper's evaluation) and tokenizer.

    Raises:
        ExportError: the image tower is a ResNet, for which transformers has no Chinese-CLIP class.
    """
    if model.config.vision.kind != "vit":
        raise ExportError(
            "transformers' ChineseCLIPModel has no ResNet image tower: export this model with save_cn_clip "
            "(`zhclip export … --to cn_clip`) instead"
        )
    target = ChineseCLIPModel(_transformers_config(model))
    target.load_state_dict(to_transformers(model.state_dict()), strict=True)
    target.eval().save_pretrained(folder)
    side = {"height": model.config.vision.image_size, "width": model.config.vision.image_size}
    images = ChineseCLIPImageProcessor(size=side, do_center_crop=False, crop_size=side)
    ChineseCLIPProcessor(images, transformers_tokenizer()).save_pretrained(folder)


def to_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a ViT model under the names, and in the layout, of transformers' ChineseCLIPModel; on the CPU."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        tensor = tensor.detach().cpu()
        if name in PROJECTIONS:
            renamed[PROJECTIONS[name]] = tensor.T.contiguous()
            continue
        for name_here, name_there in NAMES:
            name = name.replace(name_here, name_there, 1)
        qkv = re.search(r"in_proj_(weight|bias)$", name)
        if qkv:
            parts = tensor.chunk(3)
            renamed.update(
                {f"{name[: qkv.start()]}{part}_proj.{qkv[1]}": parts[i].clone() for i, part in enumerate(QKV)}
            )
        else:
            renamed[name] = tensor
    return renamed


def from_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The reverse of `to_transformers`."""
    projections = {name_there: name_here for name_here, name_there in PROJECTIONS.items()}
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name in projections:
            renamed[projections[name]] = tensor.T.contiguous()
            continue
        qkv = re.search(r"self_attn\.([qkv])_proj\.(weight|bias)$", name)
        if qkv and qkv[1] != QKV[0]:
            continue  # taken together with q
        if qkv:
            stem = name[: qkv.start()]
            tensor = torch.cat([state[f"{stem}self_attn.{part}_proj.{qkv[2]}"] for part in QKV])
            name = f"{stem}self_attn.in_proj_{qkv[2]}"
        for name_here, name_there in NAMES:
            name = name.replace(name_there, name_here, 1)
        renamed[name] = tensor
    return renamed


def _transformers_config(model: ChineseCLIP) -> ChineseCLIPConfig:
    config: ModelConfig = model.config
    vision, text = config.vision, config.text
    return ChineseCLIPConfig(
        vision_config={
            "hidden_size": vision.width,
            "intermediate_size": 4 * vision.width,
            "projection_dim": config.embed_dim,
            "num_hidden_layers": vision.layers,
            "num_attention_heads": vision.heads,
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "hidden_act": vision.activation,
        },
        text_config={
            "vocab_size": text.vocab_size,
            "hidden_size": text.hidden_size,
            "intermediate_size": text.intermediate_size,
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "max_position_embeddings": text.max_positions,
            "hidden_dropout_prob": text.dropout,
            "attention_probs_dropout_prob": text.dropout,
        },
        projection_dim=config.embed_dim,
        logit_scale_init_value=model.logit_scale.item(),
    )
