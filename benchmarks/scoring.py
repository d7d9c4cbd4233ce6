"""Scoring, side by side in one run: this project, the bare forward passes, and the peers called pair by pair.

    python -m benchmarks.scoring            # real sizes (XLM-R-Large with ViT-B/32), random weights; about 2 minutes
    python -m benchmarks.scoring --small    # a quick look with small towers

Speed does not depend on what the weights are, so none are fetched. Captions have the lengths of web captions; the
tokenizer has XLM-R's form with one piece per character, so they are if anything longer in tokens than in reality.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import open_clip
import torch
from multilingual_clip.pt_multilingual_clip import MultilingualCLIP
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import nn
from transformers import AutoModel, XLMRobertaConfig, XLMRobertaTokenizer

from foundation.devices import pick_device, pick_dtype
from foundation.hub import ModelFiles
from pipeline.recipe.score import Score
from pipeline.stages.score.images import Preprocessor
from pipeline.stages.score.models import ImageTower, TextTower
from pipeline.stages.score.scorer import Scorer

CHARACTERS = [chr(code) for code in range(0x4E00, 0x4E00 + 3000)]
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
SMALL = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
SMALL_VISION = {"image_size": 224, "layers": 4, "width": 256, "head_width": 64, "patch_size": 32}
SMALL_TEXT = {"context_length": 8, "vocab_size": 64, "width": 64, "heads": 1, "layers": 1}


class Peers(nn.Module):
    """Both peers in float32, their default, with the weights of our towers."""

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.transformer = copy.deepcopy(scorer.text.transformer).float()
        self.LinearTransformation = scorer.text.head
        self.visual = copy.deepcopy(scorer.image.visual).float()
        self.tokenizer = scorer.text.tokenizer
        self.transform = image_transform_v2(PreprocessCfg(**scorer.image.visual.preprocess_cfg), is_train=False)

    def score(self, image: bytes, caption: str) -> float:
        """One pair: the package's own forward, open_clip's own transform and visual tower."""
        text = MultilingualCLIP.forward(self, [caption], self.tokenizer)
        pixels = self.transform(Image.open(BytesIO(image)))[None]
        return float(torch.cosine_similarity(self.visual(pixels), text))


def make_scorer(small: bool, batch_size: int, dtype_name: str) -> Scorer:
    """A scorer with random weights, built in memory."""
    config = Score(image_model="random", text_model="random", batch_size=batch_size)
    device = pick_device("auto")
    dtype = pick_dtype(dtype_name, device)
    tokenizer = XLMRobertaTokenizer(
        vocab=[(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
        + [("▁", -2.0)] + [(character, -8.0) for character in CHARACTERS] + [("<mask>", 0.0)]
    )  # fmt: skip
    size = SMALL if small else LARGE
    base = XLMRobertaConfig(vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1, **size)
    transformer = AutoModel.from_config(base, dtype=dtype).eval().requires_grad_(False).to(device)
    if small:
        clip = open_clip.CLIP(512, SMALL_VISION, SMALL_TEXT)
        open_clip.model.set_model_preprocess_cfg(clip, vars(PreprocessCfg()))
    else:
        clip = open_clip.create_model("ViT-B-32", load_weights=False, force_quick_gelu=True)
    visual = clip.visual.eval().requires_grad_(False).to(device, dtype)
    head = nn.Linear(base.hidden_size, 512).requires_grad_(False).to(device)
    none = ModelFiles("random", "none", Path(), ())
    image = ImageTower(none, visual, Preprocessor(visual.preprocess_cfg), 512, device, dtype)
    return Scorer(config, TextTower(none, tokenizer, transformer, head), image)


def make_pairs(count: int) -> tuple[list[bytes], list[str]]:
    """JPEG files of 224 x 224 with detail at all scales, and captions of 5 to 50 characters (median 15)."""
    rng = np.random.default_rng(0)
    images, captions = [], []
    for _ in range(count):
        layers = [rng.normal(0, 30, (side, side, 3)) for side in (4, 14, 56)]
        resized = [np.kron(layer, np.ones((224 // layer.shape[0],) * 2 + (1,))) for layer in layers]
        buffer = BytesIO()
        Image.fromarray(np.clip(128 + sum(resized), 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
        images.append(buffer.getvalue())
        length = int(np.clip(rng.lognormal(np.log(15), 0.5), 5, 50))
        captions.append("".join(rng.choice(CHARACTERS, length)))
    return images, captions


def bare(scorer: Scorer, images: list[bytes], captions: list[str]) -> Callable[[], None]:
    """The forward passes alone: the same batches, tokenised, decoded, normalised and on the device beforehand."""
    size, device = scorer.config.batch_size, scorer.image.device
    tokens = sorted(scorer.text.tokenize(captions, scorer.config.max_tokens), key=len)
    texts = []
    for start in range(0, len(tokens), size):
        chunk = tokens[start : start + size]
        padded = [row + [scorer.text.tokenizer.pad_token_id] * (len(chunk[-1]) - len(row)) for row in chunk]
        mask = [[1] * len(row) + [0] * (len(chunk[-1]) - len(row)) for row in chunk]
        texts.append((torch.tensor(padded, device=device), torch.tensor(mask, device=device)))
    decode, normalize = scorer.image.preprocessor.decode, scorer.image.preprocessor.normalize
    pixels = torch.from_numpy(np.stack([decode(data).pixels for data in images])).to(device)
    batches = [normalize(batch, scorer.image.dtype) for batch in pixels.split(size)]

    def run() -> None:
        with torch.inference_mode():
            for ids, mask in texts:
                scorer.text.transformer(input_ids=ids, attention_mask=mask)
            for batch in batches:
                last = scorer.image.visual(batch)
            last.sum().item()  # waits for the device

    return run


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Interleaved rounds of the three, medians at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="small towers, for a quick look")
    parser.add_argument("--pairs", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--single", type=int, default=12, help="pairs a round for the peers, one after the other")
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    scorer = make_scorer(options.small, options.batch, options.dtype)
    images, captions = make_pairs(options.pairs)
    forward, peers = bare(scorer, images, captions), Peers(scorer) if scorer.image.device.type == "cpu" else None

    def one_by_one() -> None:
        with torch.inference_mode():
            for image, caption in list(zip(images, captions, strict=True))[: options.single]:
                peers.score(image, caption)  # type: ignore[union-attr]

    runs: dict[str, tuple[Callable[[], object], int]] = {
        "forward passes alone": (forward, options.pairs),
        "scorer.score": (lambda: scorer.score(images, captions), options.pairs),
    }
    if peers:
        runs["peers, pair by pair"] = (one_by_one, options.single)
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(options.rounds + 1):
        for name, (work, count) in runs.items():
            rate = count / seconds(work)
            if round_number:  # the first round warms up
                rates[name].append(rate)
    report(scorer, rates)


def report(scorer: Scorer, rates: dict[str, list[float]]) -> None:
    """Medians over rounds in pairs per second, and the two ratios."""
    print(
        f"device {scorer.image.device}, {scorer.identity['dtype']}, {torch.get_num_threads()} threads, "
        f"batch {scorer.config.batch_size}, torch {torch.__version__}; pairs/s, median of rounds (least to most)"
    )
    for name, values in rates.items():
        print(f"  {name:24} {statistics.median(values):8.2f}  ({min(values):.2f} to {max(values):.2f})")
    ours = rates.pop("scorer.score")
    for (name, other), target in zip(rates.items(), (0.9, 5.0), strict=False):
        ratio = statistics.median(a / b for a, b in zip(ours, other, strict=True))  # of neighbours in time
        print(f"  scorer / {name}: {ratio:.2f}, median of the rounds' ratios (target at least {target})")


if __name__ == "__main__":
    main()
