"""The demo scorer's two towers and their files, in the layouts that the published Multilingual-CLIP models have.

`text/`: `config.json` (model type M-CLIP), the base model's `base/config.json`, weights `model.safetensors` with the keys
`transformer.*` and `LinearTransformation.*`, and a fast XLM-RoBERTa tokenizer. `image/`: an open_clip model folder. The
image model's own text tower is a stub of a few thousand weights, because mCLIP replaces it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

DIMENSIONS = 128
LONGEST = 128  # tokens of a caption, start and end included
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]  # XLM-RoBERTa's order
IMAGE_CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": DIMENSIONS,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 20, "head_width": 64, "patch_size": None},
        "text_cfg": {"context_length": 8, "vocab_size": 16, "width": 8, "heads": 1, "layers": 1},
    },
    "preprocess_cfg": {
        "mean": [0.48145466, 0.4578275, 0.40821073],  # of OpenAI's CLIP, open_clip's default
        "std": [0.26862954, 0.26130258, 0.27577711],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
}


class TextTower(nn.Module):
    """XLM-RoBERTa, the mean over a caption's tokens, and a linear map: the forward pass of `multilingual-clip`."""

    def __init__(self, base: XLMRobertaConfig) -> None:
        super().__init__()
        self.transformer = XLMRobertaModel(base, add_pooling_layer=False)
        self.LinearTransformation = nn.Linear(base.hidden_size, DIMENSIONS)

    def forward(self, tokens: Tensor, attention: Tensor) -> Tensor:
        """int64 tokens and attention [batch, length] → [batch, DIMENSIONS]."""
        states = self.transformer(tokens, attention_mask=attention).last_hidden_state
        weights = attention.unsqueeze(2)
        return self.LinearTransformation((states * weights).sum(1) / weights.sum(1))


def base_config(vocabulary: int) -> XLMRobertaConfig:
    """A text tower of two layers, 128 wide."""
    return XLMRobertaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=LONGEST + 2,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )


def read_towers(folder: Path | None, vocabulary: int = 0) -> tuple[nn.Module, TextTower]:
    """The image tower (a whole open_clip model's `visual`) and the text tower of `folder`, in float32 and `eval()`;
    where `folder` is None, untrained ones in `train()` for `vocabulary` tokens."""
    model = open_clip.model.CLIP(**IMAGE_CONFIG["model_cfg"])
    if folder is None:
        return model.visual, TextTower(base_config(vocabulary))
    text = TextTower(XLMRobertaConfig(**json.loads((folder / "text/base/config.json").read_text(encoding="utf-8"))))
    model.load_state_dict(load_file(folder / "image/open_clip_model.safetensors"))
    text.load_state_dict(load_file(folder / "text/model.safetensors"))
    return model.visual.float().eval(), text.float().eval()


def save(folder: Path, image_tower: nn.Module, text_tower: TextTower, tokenizer: PreTrainedTokenizerFast) -> None:
    """Writes both towers with float16 weights."""
    model = open_clip.model.CLIP(**IMAGE_CONFIG["model_cfg"])
    model.visual.load_state_dict(image_tower.state_dict())
    (folder / "image").mkdir(parents=True, exist_ok=True)
    (folder / "text" / "base").mkdir(parents=True, exist_ok=True)
    _write(folder / "image/open_clip_config.json", IMAGE_CONFIG)
    save_file(_half(model), folder / "image/open_clip_model.safetensors", {"format": "pt"})
    base = text_tower.transformer.config
    described = {
        "architectures": ["MultilingualCLIP"],
        "model_type": "M-CLIP",
        "modelBase": "base",
        "numDims": DIMENSIONS,
        "transformerDimensions": base.hidden_size,
    }
    _write(folder / "text/config.json", described)
    base.save_pretrained(folder / "text/base")
    save_file(_half(text_tower), folder / "text/model.safetensors", {"format": "pt"})
    tokenizer.backend_tokenizer.no_truncation()  # how long and how padded is for the caller to say
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(folder / "text")
    told = json.loads((folder / "text/tokenizer_config.json").read_text(encoding="utf-8"))
    told = {name: value for name, value in told.items() if name.endswith("_token") or name == "model_max_length"}
    told["tokenizer_class"] = "PreTrainedTokenizerFast"  # a name that transformers 4 and 5 both know
    _write(folder / "text/tokenizer_config.json", told)


def _half(model: nn.Module) -> dict[str, Tensor]:
    """The state in float16: half the file, and cosines change by less than 0.001."""
    state = model.state_dict().items()
    return {k: (v.half() if v.is_floating_point() else v).detach().contiguous().clone() for k, v in state}


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def build_tokenizer(captions: list[str], vocabulary: int = 2400) -> PreTrainedTokenizerFast:
    """A unigram tokenizer learnt from `captions`, with XLM-RoBERTa's normalisation, special tokens and numbering."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=vocabulary, special_tokens=SPECIAL, unk_token="<unk>", max_piece_length=4, show_progress=False
    )
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=LONGEST,
        pad_token="<pad>",
        unk_token="<unk>",
        **names,
    )
