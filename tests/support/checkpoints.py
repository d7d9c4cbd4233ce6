"""Small random checkpoints in the layouts that the real ones are published in; any test may use them.

text = write_text_model(folder / "text")    # Multilingual-CLIP: config.json, weights, XLM-R tokenizer, base/config.json
image = write_image_model(folder / "image")  # open_clip: open_clip_config.json, open_clip_model.safetensors
scorer = load_scorer(Score(text_model=str(text), image_model=str(image)))
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModel, XLMRobertaConfig, XLMRobertaTokenizer

CHARACTERS = "".join(
    sorted(set("一只白色的小猫坐在窗边看着外面的雨，红色汽车停在路旁。蓝天下的雪山与湖水！abcdefghij0123456789"))
)
DIM = 32  # length of an embedding, unless told otherwise
VISION = {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16}  # a tiny ViT
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32}  # a tiny ModifiedResNet
TEXT = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}  # open_clip's own, never used


def write_text_model(
    folder: Path, dim: int = DIM, seed: int = 0, hidden: int = 48, max_tokens: int = 128, safetensors: bool = False
) -> Path:
    """A random Multilingual-CLIP text model: `folder`, which the tokenizer, weights and base architecture lie in."""
    tokenizer = _tokenizer()
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * hidden,
        max_position_embeddings=max_tokens + 2,  # XLM-R counts positions from 2
        type_vocab_size=1,
        initializer_range=0.3,  # far from the usual 0.02, so that captions differ clearly even when untrained
    )
    torch.manual_seed(seed)
    model = nn.ModuleDict(
        {"transformer": AutoModel.from_config(config), "LinearTransformation": nn.Linear(hidden, dim)}
    )
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    state["transformer.embeddings.position_ids"] = torch.arange(max_tokens + 2)[None]  # as in the published files
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    config.save_pretrained(folder / "base")
    _write_json(
        folder / "config.json",
        {"model_type": "M-CLIP", "modelBase": "base", "numDims": dim, "transformerDimensions": hidden},
    )
    if safetensors:
        save_file(state, folder / "model.safetensors")
    else:
        torch.save(state, folder / "pytorch_model.bin")
    return folder


def write_image_model(
    folder: Path, dim: int = DIM, seed: int = 0, vision: dict[str, Any] | None = None, **preprocess: Any
) -> Path:
    """A random open_clip model with the given `vision_cfg` and `preprocess_cfg` (size comes from the former)."""
    model_cfg = {"embed_dim": dim, "vision_cfg": vision or VISION, "text_cfg": TEXT}
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "open_clip_config.json", {"model_cfg": model_cfg, "preprocess_cfg": preprocess})
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    for parameter in model.visual.parameters():
        if vision is None and parameter.ndim > 1:  # louder than at the start of training, so that images differ clearly
            nn.init.normal_(parameter, std=0.15)
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    return folder


def _tokenizer() -> XLMRobertaTokenizer:
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = (
        [(name, 0.0) for name in special]
        + [("▁", -2.0)]
        + [(character, -4.0) for character in CHARACTERS]
        + [("<mask>", 0.0)]
    )
    return XLMRobertaTokenizer(vocab=pieces)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
