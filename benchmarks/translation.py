"""Translation, side by side in one run: batches by length, batches in the order of the texts, and one text at a time.

    python -m benchmarks.translation                 # opus-mt-en-zh's size, random weights; about 3 minutes
    python -m benchmarks.translation --beams 1

Speed does not depend on what the weights are, so none are fetched; but a random model never ends a sentence, so a batch is
stopped after as many tokens as its longest text has, about where a real one would end. Captions have lengths like MSCOCO's
(here 8 to 30 words, 11 on average), a word being one token.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from transformers import GenerationConfig, MarianConfig, MarianMTModel, MarianTokenizer

from foundation.devices import pick_device, pick_dtype
from foundation.hub import ModelFiles
from pipeline.sources.translation import Translation
from pipeline.stages.translate.marian import Translator, batches_by_length

VOCABULARY = 65_001  # of opus-mt-en-zh, the padding token last
SIZE = {
    "d_model": 512, "encoder_layers": 6, "decoder_layers": 6, "encoder_attention_heads": 8, "decoder_attention_heads": 8,
    "encoder_ffn_dim": 2048, "decoder_ffn_dim": 2048, "max_position_embeddings": 512, "activation_function": "swish",
    "scale_embedding": True,
}  # fmt: skip
WORDS = [
    a + b + c for a in ("ba", "ko", "ri", "tu", "me") for b in ("n", "l", "sh", "r") for c in ("a", "ito", "eru", "us")
]


class EndedTranslator(Translator):
    """The translator, ending each batch after as many tokens as its longest text has."""

    output = 0

    def _generate(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        self.output = max(map(len, tokens))
        return super()._generate(tokens)

    def _search(self) -> GenerationConfig:
        search = super()._search()
        search.max_new_tokens = search.min_new_tokens = self.output
        return search


def make_translator(beams: int, batch_tokens: int, dtype_name: str) -> EndedTranslator:
    """A translator with random weights, built in memory."""
    device = pick_device("auto")
    config = MarianConfig(
        vocab_size=VOCABULARY,
        pad_token_id=VOCABULARY - 1,
        decoder_start_token_id=VOCABULARY - 1,
        eos_token_id=0,
        **SIZE,
    )
    model = MarianMTModel(config).eval().requires_grad_(False).to(device, pick_dtype(dtype_name, device))
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = make_tokenizer(Path(folder))
    options = Translation(model="random", beams=beams, batch_tokens=batch_tokens)
    return EndedTranslator(options, ModelFiles("random", "none", Path(), ()), tokenizer, model)


def make_tokenizer(folder: Path) -> Any:
    """A tokenizer with one token for each of WORDS, and a vocabulary of the real one's size."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS * 50), model_writer=written, vocab_size=120, hard_vocab_limit=False, minloglevel=2
    )
    pieces = dict.fromkeys(["</s>", "<unk>", *(f"▁{word}" for word in WORDS)])
    names = [*pieces, *(f"▁z{number}" for number in range(VOCABULARY - len(pieces) - 1)), "<pad>"]
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(written.getvalue())
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}), encoding="utf-8")
    return MarianTokenizer.from_pretrained(folder)


def make_captions(count: int) -> list[str]:
    """Texts of 8 words and more, few of them long."""
    rng = np.random.default_rng(0)
    lengths = np.minimum(8 + rng.geometric(1 / 3.5, count) - 1, 30)
    return [" ".join(rng.choice(WORDS, length)) for length in lengths]


def in_batches(translator: EndedTranslator, tokens: list[list[int]], batches: list[list[int]]) -> None:
    """The bare search over given batches."""
    with torch.inference_mode():
        for batch in batches:
            translator._generate([tokens[i] for i in batch])


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Interleaved rounds of the three, medians at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--single", type=int, default=8, help="texts a round, one after the other")
    parser.add_argument("--beams", type=int, default=4)
    parser.add_argument("--batch-tokens", type=int, default=Translation().batch_tokens)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    translator = make_translator(given.beams, given.batch_tokens, given.dtype)
    captions = make_captions(given.texts)
    tokens = translator.tokenize(captions)
    by_length = list(batches_by_length(tokens, given.batch_tokens))
    size = -(-given.texts // len(by_length))
    in_order = [list(range(start, min(start + size, given.texts))) for start in range(0, given.texts, size)]
    padded = [sum(len(batch) * max(len(tokens[i]) for i in batch) for batch in way) for way in (by_length, in_order)]
    runs: dict[str, tuple[Callable[[], object], int]] = {
        "translator.translate": (lambda: translator.translate(captions), given.texts),
        f"batches of {size} in order": (lambda: in_batches(translator, tokens, in_order), given.texts),
        "one text at a time": (
            lambda: in_batches(translator, tokens, [[i] for i in range(given.single)]),
            given.single,
        ),
    }
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(given.rounds + 1):
        for name, (work, count) in runs.items():
            warming_up = round_number == 0  # the first round warms up
            rate = count / seconds(work if not warming_up else lambda: in_batches(translator, tokens, [[0]]))
            if not warming_up:
                rates[name].append(rate)
    print(
        f"device {translator.model.device}, {translator.identity['dtype']}, {torch.get_num_threads()} threads, "
        f"beams {given.beams}, {given.batch_tokens} tokens a batch, {len(by_length)} batches, "
        f"torch {torch.__version__}; texts/s, median of rounds (least to most)"
    )
    for name, values in rates.items():
        print(f"  {name:24} {statistics.median(values):8.2f}  ({min(values):.2f} to {max(values):.2f})")
    real = sum(map(len, tokens))
    print(f"  padding: {padded[0] / real - 1:.1%} by length, {padded[1] / real - 1:.1%} in order")
    ours, ordered, single = rates.values()
    for name, other in (("in order", ordered), ("one at a time", single)):
        ratio = statistics.median(a / b for a, b in zip(ours, other, strict=True))  # of neighbours in time
        print(f"  by length / {name}: {ratio:.2f}, median of the rounds' ratios")


if __name__ == "__main__":
    main()
