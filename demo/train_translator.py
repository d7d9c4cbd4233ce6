"""Trains the demo's small translator: a MarianMT model in miniature, in the file layout of Helsinki-NLP/opus-mt-en-zh.

    OMP_NUM_THREADS=1 python -m demo.train_translator --out demo/marian-tiny

It learns the English and Chinese names of emoji by heart, within the sentences of demo.phrases. That is all it is for: the
demo's captions go through the same stage, the same code and the same files as those of a real translator. One name in twenty
is never shown to it, and figures.json says what becomes of both.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from torch import Tensor
from transformers import GenerationConfig, MarianConfig, MarianMTModel, MarianTokenizer

from demo.phrases import Name, load_names, phrase_of, some_text
from pipeline.sources.translation import Translation
from pipeline.stages.translate import load_translator

UNSEEN_SHARE = 20  # one name in twenty is held out
VARIANTS = 24  # texts about each name, beside the name itself
WIDTH, FFN, LAYERS, HEADS = 128, 256, 2, 4
ENGLISH_PIECES = 1600  # at most; Chinese is cut into characters
IGNORED = -100  # label of padding, which the loss leaves out


def is_held_out(name: Name) -> bool:
    """True for the one name in twenty that the translator is never shown."""
    return random.Random(f"untranslated {name.hexcode}").randrange(UNSEEN_SHARE) == 0


def main() -> None:
    """Command line: trains, saves, and reports how many names are translated exactly."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=Path(__file__).parent / "marian-tiny")
    options.add_argument("--steps", type=int, default=800, help="of one batch each; two to five a second")
    options.add_argument("--batch", type=int, default=128)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    names = list(load_names().values())
    texts = texts_of([name for name in names if not is_held_out(name)], random.Random(given.seed))
    given.out.mkdir(parents=True, exist_ok=True)
    tokenizer = write_tokenizer(given.out, texts)
    torch.manual_seed(given.seed)
    model = fit(new_model(tokenizer), encode(tokenizer, texts), given.steps, given.batch)
    save(model, given.out)
    figures = evaluate(given.out, names)
    (given.out / "figures.json").write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2, ensure_ascii=False))


def texts_of(names: list[Name], rng: random.Random) -> list[tuple[str, str]]:
    """The names, and VARIANTS texts about each: English, Chinese."""
    return [phrase_of(name, "") for name in names] + [some_text(name, rng) for name in names for _ in range(VARIANTS)]


def write_tokenizer(folder: Path, texts: list[tuple[str, str]]) -> MarianTokenizer:
    """Writes source.spm, target.spm, vocab.json and tokenizer_config.json, as the published models have them."""
    english = train_pieces(
        folder / "source.spm", (text for text, _ in texts), model_type="unigram", vocab_size=ENGLISH_PIECES
    )
    chinese = train_pieces(folder / "target.spm", (text for _, text in texts), model_type="char", vocab_size=8000)
    words = dict.fromkeys(["</s>", "<unk>", *english, *chinese, "<pad>"])
    vocabulary = {piece: number for number, piece in enumerate(words)}
    _write_json(folder / "vocab.json", vocabulary)
    _write_json(folder / "tokenizer_config.json", {"source_lang": "eng", "target_lang": "zho"})
    return MarianTokenizer.from_pretrained(folder)


def train_pieces(path: Path, lines: Iterable[str], **options: Any) -> list[str]:
    """Train a sentencepiece model and write it to `path`.

    Args:
        options: of the trainer, such as `vocab_size` and `model_type`.

    Returns:
        Its pieces but for the special ones.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        hard_vocab_limit=False,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
        **options,
    )
    path.write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = (processor.id_to_piece(number) for number in range(len(processor)))
    return [piece for piece in pieces if piece not in ("<s>", "</s>", "<unk>")]


def new_model(tokenizer: MarianTokenizer) -> MarianMTModel:
    """A model with random weights that fits the vocabulary."""
    vocabulary = tokenizer.get_vocab()
    return MarianMTModel(
        MarianConfig(
            vocab_size=len(vocabulary),
            d_model=WIDTH,
            encoder_layers=LAYERS,
            decoder_layers=LAYERS,
            encoder_attention_heads=HEADS,
            decoder_attention_heads=HEADS,
            encoder_ffn_dim=FFN,
            decoder_ffn_dim=FFN,
            max_position_embeddings=128,
            activation_function="swish",
            scale_embedding=True,
            dropout=0.1,
            pad_token_id=vocabulary["<pad>"],
            decoder_start_token_id=vocabulary["<pad>"],
            eos_token_id=vocabulary["</s>"],
            forced_eos_token_id=vocabulary["</s>"],
        )
    )


def encode(tokenizer: MarianTokenizer, texts: list[tuple[str, str]]) -> dict[str, Tensor]:
    """input_ids, attention_mask and labels, int64 [n, length]; padding of labels is IGNORED."""
    english, chinese = zip(*texts, strict=True)
    encoded = tokenizer(list(english), text_target=list(chinese), return_tensors="pt", padding=True)
    labels = encoded["labels"]
    encoded["labels"] = labels.masked_fill(labels == tokenizer.pad_token_id, IGNORED)
    return dict(encoded)


def fit(model: MarianMTModel, corpus: dict[str, Tensor], steps: int, batch: int) -> MarianMTModel:
    """Trains for `steps` batches: a warm-up of 100, then down in a straight line."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.01)
    started = time.monotonic()
    model.train()
    for step in range(1, steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(step / 100, (steps - step + 1) / steps)
        loss = model(**_batch(corpus, torch.randint(len(corpus["labels"]), (batch,)))).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 100 == 0:
            print(f"step {step} loss {loss.item():.3f} {step / (time.monotonic() - started):.1f} steps/s", flush=True)
    return model.eval()


def _batch(corpus: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """Some rows, the padding that all of them share cut off."""
    chosen = {name: values[rows] for name, values in corpus.items()}
    source = int(chosen["attention_mask"].sum(1).max())
    target = int((chosen["labels"] != IGNORED).sum(1).max())
    return {name: values[:, : target if name == "labels" else source].contiguous() for name, values in chosen.items()}


def save(model: MarianMTModel, folder: Path) -> None:
    """config.json, generation_config.json and model.safetensors, the weights in half precision."""
    known = model.config
    model.generation_config = GenerationConfig(
        num_beams=4,
        max_length=128,
        bad_words_ids=[[known.pad_token_id]],
        decoder_start_token_id=known.decoder_start_token_id,
        eos_token_id=known.eos_token_id,
        forced_eos_token_id=known.eos_token_id,
        pad_token_id=known.pad_token_id,
    )
    model.half().save_pretrained(folder)


def evaluate(folder: Path, names: list[Name]) -> dict[str, Any]:
    """Through the code that runs the real models: the shares of names translated exactly, one beam, float32."""
    translator = load_translator(Translation(model=str(folder), dtype="float32", beams=1, device="cpu"))
    translations = dict(zip(names, translator.translate([name.english for name in names]), strict=True))
    held = [name for name in names if is_held_out(name)]
    shown = [name for name in names if not is_held_out(name)]
    wrong = [[name.english, translations[name], name.chinese] for name in held if translations[name] != name.chinese]
    return {
        "names_shown": len(shown),
        "exact_shown": round(_exact(shown, translations), 4),
        "names_held_out": len(held),
        "exact_held_out": round(_exact(held, translations), 4),
        "wrong_held_out": [" → ".join(texts[:2]) + f" (is: {texts[2]})" for texts in wrong[:5]],
    }


def _exact(names: list[Name], translations: dict[Name, str]) -> float:
    return sum(translations[name] == name.chinese for name in names) / max(1, len(names))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
