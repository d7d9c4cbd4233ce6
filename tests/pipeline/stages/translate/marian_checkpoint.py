"""A small MarianMT checkpoint in the layout of Helsinki-NLP/opus-mt-en-zh; any test may use it.

folder = write_marian(tmp_path / "opus")
translator = load_translator(Translation(model=str(folder)))
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import sentencepiece
import torch
from transformers import MarianConfig, MarianMTModel, MarianTokenizer

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
    pieces = [*_train(ENGLISH, folder / "source.spm"), *_train(CHINESE, folder / "target.spm")]
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


def _train(lines: list[str], path: Path) -> list[str]:
    """Trains a sentencepiece model on a few lines; its pieces but for the special ones."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 20),
        model_writer=model,
        vocab_size=120,
        hard_vocab_limit=False,
        character_coverage=1.0,
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = (processor.id_to_piece(number) for number in range(len(processor)))
    return [piece for piece in pieces if piece not in ("<s>", "</s>", "<unk>")]
