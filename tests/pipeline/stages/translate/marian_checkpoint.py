"""A small MarianMT checkpoint in the layout of Helsinki-NLP/opus-mt-en-zh; any test may use it.

folder = write_marian(tmp_path / "opus")
translator = load_translator(Translation(model=str(folder)))
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import MarianConfig, MarianMTModel, MarianTokenizer

from demo.train_translator import train_pieces

ENGLISH = [
    "A white cat sits by the window.",
    "Two red cars parked near a tall building",
    "a man riding a horse on the beach",
    "The dog and the child play with a yellow ball in the park, under an old tree.",
    "blue sky",
    "three people walking down a street with umbrellas",
]
CHINESE = [
    "一只白猫坐在窗边。",
    "兩輛紅色汽車停在高樓旁邊",
    "一个男人在海滩上骑马",
    "狗和孩子在公园的老树下玩黄色的球。",
    "蓝天",
    "三个人打着伞走在街上",
]


def write_marian(
    folder: Path, seed: int = 0, language_codes: tuple[str, ...] = (">>cmn_Hans<<", ">>cmn_Hant<<")
) -> Path:
    """config.json, generation_config.json, source.spm, target.spm, vocab.json, tokenizer_config.json, model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = [
        piece
        for name, texts in (("source.spm", ENGLISH), ("target.spm", CHINESE))
        for piece in train_pieces(folder / name, texts * 20, vocab_size=120)
    ]
    words = dict.fromkeys(["</s>", "<unk>", *pieces, *language_codes, "<pad>"])
    vocabulary = {piece: number for number, piece in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"target_lang": "zho", "source_lang": "eng"}', encoding="utf-8")
    config = MarianConfig(
        vocab_size=len(vocabulary),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=128,
        activation_function="swish",
        scale_embedding=True,
        dropout=0.0,
        pad_token_id=vocabulary["<pad>"],
        decoder_start_token_id=vocabulary["<pad>"],
        eos_token_id=0,
    )
    torch.manual_seed(seed)
    model = MarianMTModel(config)
    _overfit(model, MarianTokenizer.from_pretrained(folder))
    model.save_pretrained(folder)
    return folder


def _overfit(model: MarianMTModel, tokenizer: MarianTokenizer, steps: int = 120) -> None:
    """Learns the six sentences by heart, so that translations differ, and end where they should."""
    given = tokenizer(
        [f">>cmn_Hans<< {text}" for text in ENGLISH], text_target=CHINESE, return_tensors="pt", padding=True
    )
    given["labels"][given["labels"] == model.config.pad_token_id] = -100
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        model(**given).loss.backward()
        optimizer.step()
