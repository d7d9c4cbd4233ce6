"""The model that zhclip is compared with, in tests and benchmarks."""

from __future__ import annotations

import torch

from trainer.models.config import ModelConfig


def reference(config: ModelConfig) -> torch.nn.Module:
    """cn_clip's own model of the same shape."""
    from cn_clip.clip.model import CLIP

    vision, text = config.vision, config.text
    return CLIP(
        embed_dim=config.embed_dim,
        image_resolution=vision.image_size,
        vision_layers=vision.layers,
        vision_width=vision.width,
        vision_patch_size=vision.patch_size,
        vocab_size=text.vocab_size,
        text_attention_probs_dropout_prob=text.dropout,
        text_hidden_act="gelu",
        text_hidden_dropout_prob=text.dropout,
        text_hidden_size=text.hidden_size,
        text_initializer_range=0.02,
        text_intermediate_size=text.intermediate_size,
        text_max_position_embeddings=text.max_positions,
        text_num_attention_heads=text.heads,
        text_num_hidden_layers=text.layers,
        text_type_vocab_size=2,
    ).eval()
