"""Trains the demo's small scorer: Multilingual-CLIP in miniature, in the published file layout.

    python -m demo.train_scorer --out demo/mclip-tiny --steps 1000

It learns four styles of drawings and is used on two others (demo/world.py), and one concept in ten is never shown to it.
The loss has two parts: the usual contrastive one, and a logistic one whose decision point is fixed at a cosine of 0.26.
So 0.26, the paper's threshold for LAION, is where this scorer too holds match and mismatch equally likely, and no
threshold had to be tuned on the demo's own data.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demo.drawings import Drawing, caption, load_drawings, render
from demo.scorer_files import IMAGE_CONFIG, TextTower, build_tokenizer, read_towers, save

TRAINED_STYLES = ("noto-v1", "twemoji", "openmoji", "emojione")
UNSEEN_STYLES = ("noto", "fluent-emoji-flat")
THRESHOLD = 0.26  # cosine at which match and mismatch are equally likely, by construction of the loss
UNSEEN_SHARE = 10  # one concept in ten is held out
PIXELS = IMAGE_CONFIG["model_cfg"]["vision_cfg"]["image_size"]
RENDERED = PIXELS + 16  # drawings are kept a little larger than the model sees them, to be cropped and turned


@dataclass
class Corpus:
    """Drawings as tensors: `images` uint8 [n, 4, RENDERED, RENDERED] RGBA, `tokens` int64 [n, variants, length]."""

    images: Tensor
    tokens: Tensor
    concept: Tensor  # int64 [n], equal for drawings of one concept

    def __len__(self) -> int:
        return len(self.images)


def is_held_out(drawing: Drawing) -> bool:
    """True for the one concept in ten (of all styles) that the scorer is never shown."""
    return random.Random(f"held out {drawing.hexcode}").randrange(UNSEEN_SHARE) == 0


def main() -> None:
    """Command line: trains, saves, and reports how well matches are told from mismatches."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=Path(__file__).parent / "mclip-tiny")
    options.add_argument("--steps", type=int, default=1000, help="of one batch each; about two a second on two cores")
    options.add_argument("--batch", type=int, default=256)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    torch.manual_seed(given.seed)
    drawings = load_drawings((*TRAINED_STYLES, *UNSEEN_STYLES))
    shown = [drawing for drawing in drawings if drawing.style in TRAINED_STYLES and not is_held_out(drawing)]
    tokenizer = build_tokenizer(captions_of(shown, 24))
    encode = partial(corpus_of, tokenizer=tokenizer)
    image_tower, text_tower = fit(encode(shown, variants=24), len(tokenizer), given.steps, given.batch)
    save(given.out, image_tower, text_tower, tokenizer)
    image_tower, text_tower = read_towers(given.out)
    figures = {
        style: evaluate([drawing for drawing in drawings if drawing.style == style], encode, image_tower, text_tower)
        for style in (*TRAINED_STYLES, *UNSEEN_STYLES)
    }
    (given.out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))


def captions_of(drawings: list[Drawing], variants: int) -> list[str]:
    """`variants` captions of every drawing, the name alone where a caption of the right length cannot be made."""
    return [
        caption(drawing, random.Random(f"{drawing.hexcode} {drawing.style} {i}")) or drawing.name
        for drawing in drawings
        for i in range(variants)
    ]


def corpus_of(drawings: list[Drawing], tokenizer, variants: int = 1) -> Corpus:  # type: ignore[no-untyped-def]
    """Renders the drawings (on two processes) and encodes `variants` captions of each."""
    with ProcessPoolExecutor(2) as pool:
        images = list(pool.map(_pixels, [drawing.svg for drawing in drawings], chunksize=64))
    encoded = tokenizer(captions_of(drawings, variants), padding=True, truncation=True, return_tensors="pt")
    numbers = {code: i for i, code in enumerate(sorted({drawing.hexcode for drawing in drawings}))}
    concept = torch.tensor([numbers[drawing.hexcode] for drawing in drawings])
    return Corpus(torch.from_numpy(np.stack(images)), encoded["input_ids"].view(len(drawings), variants, -1), concept)


def _pixels(svg: str) -> np.ndarray:
    return np.asarray(render(svg, RENDERED)).transpose(2, 0, 1)


def fit(corpus: Corpus, vocabulary: int, steps: int, batch: int) -> tuple[nn.Module, TextTower]:
    """Trains both towers for `steps` batches, with a warm-up and then a cosine schedule."""
    image_tower, text_tower = read_towers(None, vocabulary)
    scale = nn.Parameter(torch.tensor(math.log(14.0)))
    weights: list[nn.Parameter] = [*image_tower.parameters(), *text_tower.parameters()]
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": [scale], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.05)
    image_tower.to(memory_format=torch.channels_last)
    started = time.monotonic()
    for step in range(1, steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = 1.5e-3 * min(1.0, step / 100) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        rows = torch.randint(len(corpus), (batch,))
        with torch.autocast("cpu", torch.bfloat16):
            seen, read = embed(image_tower, text_tower, augment(corpus.images[rows]), pick(corpus.tokens, rows))
        loss = loss_of(seen.float() @ read.float().T, corpus.concept[rows], scale.exp().clamp(max=100.0))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        if step % 50 == 0:
            rate = step * batch / (time.monotonic() - started)
            print(f"step {step} loss {loss.item():.3f} scale {scale.exp().item():.1f} {rate:.0f}/s", flush=True)
    return image_tower, text_tower


def pick(tokens: Tensor, rows: Tensor) -> Tensor:
    """One caption of each row at random, the padding that all of them share cut off: int64 [batch, length]."""
    chosen = tokens[rows, torch.randint(tokens.shape[1], (len(rows),))]
    return chosen[:, : int((chosen != 1).sum(1).max())]


def embed(image_tower: nn.Module, text_tower: TextTower, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Both embeddings [batch, dimensions], each of length one."""
    seen = image_tower(images.to(memory_format=torch.channels_last))
    return F.normalize(seen, dim=-1), F.normalize(text_tower(tokens, (tokens != 1).long()), dim=-1)


def loss_of(cosines: Tensor, concept: Tensor, scale: Tensor) -> Tensor:
    """Contrastive loss plus logistic loss around THRESHOLD; other drawings of the same concept count as neither."""
    own = torch.eye(len(cosines), dtype=torch.bool)
    same = (concept[:, None] == concept[None, :]) & ~own
    logits = (cosines * scale).masked_fill(same, -1e4)
    target = torch.arange(len(cosines))
    contrastive = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    margin = (cosines - THRESHOLD) * scale
    misses = F.softplus(-margin[own]).mean() + F.softplus(margin[~own & ~same]).mean()
    return contrastive + misses


def augment(rgba: Tensor) -> Tensor:
    """uint8 RGBA drawings → float [n, 3, PIXELS, PIXELS] as the model takes them: turned, scaled, on coloured ground."""
    n = len(rgba)
    pixels = rgba.float() / 255
    colour = pixels[:, :3] * (1 + 0.3 * torch.randn(n, 3, 1, 1)).clamp(0.4, 1.6) + 0.08 * torch.randn(n, 3, 1, 1)
    grey = (torch.rand(n, 1, 1, 1) < 0.15).float()
    colour = (grey * colour.mean(1, keepdim=True) + (1 - grey) * colour).clamp(0, 1)
    placed = F.grid_sample(torch.cat([colour, pixels[:, 3:]], 1), _grid(n), align_corners=False)
    ground = 1 - 0.3 * torch.rand(n, 3, 1, 1) * (torch.rand(n, 1, 1, 1) < 0.7)
    return normalised(placed[:, :3] * placed[:, 3:] + ground * (1 - placed[:, 3:]))


def _grid(n: int) -> Tensor:
    angle, size = 0.2 * torch.randn(n), torch.empty(n).uniform_(0.95, 1.4)
    stretch = torch.empty(n).uniform_(0.88, 1.12)
    cos, sin = angle.cos() * size, angle.sin() * size
    shift = torch.empty(n, 2).uniform_(-0.12, 0.12)
    rows = [torch.stack([cos * stretch, -sin, shift[:, 0]], 1), torch.stack([sin, cos / stretch, shift[:, 1]], 1)]
    return F.affine_grid(torch.stack(rows, 1), [n, 4, PIXELS, PIXELS], align_corners=False)


def normalised(rgb: Tensor) -> Tensor:
    """float RGB 0 to 1 → what the image tower takes."""
    given = IMAGE_CONFIG["preprocess_cfg"]
    return (rgb - torch.tensor(given["mean"])[:, None, None]) / torch.tensor(given["std"])[:, None, None]


@torch.inference_mode()
def evaluate(drawings: list[Drawing], encode, image_tower: nn.Module, text_tower: TextTower) -> dict[str, float]:  # type: ignore[no-untyped-def]
    """How well matching captions of one style are told from those of other concepts, on concepts shown and held out."""
    corpus: Corpus = encode(drawings)
    flat = F.interpolate(corpus.images.float() / 255, PIXELS, mode="bilinear", antialias=True)
    images = normalised(flat[:, :3] * flat[:, 3:] + 1 - flat[:, 3:])
    batches = zip(images.split(256), corpus.tokens[:, 0].split(256), strict=True)
    seen, read = zip(*(embed(image_tower, text_tower, *batch) for batch in batches), strict=True)
    cosines = torch.cat(seen) @ torch.cat(read).T
    true, held = cosines.diagonal(), torch.tensor([is_held_out(drawing) for drawing in drawings])
    wrong = cosines[torch.arange(len(true)), torch.arange(len(true)).roll(len(true) // 2)]
    return {
        "auc_shown": auc(true[~held], wrong),
        "auc_held_out": auc(true[held], wrong),
        "true_kept": float((true >= THRESHOLD).float().mean()),
        "swapped_kept": float((wrong >= THRESHOLD).float().mean()),
    }


def auc(true: Tensor, wrong: Tensor) -> float:
    """Area under the ROC curve: the share of (true, wrong) pairs that the true one wins."""
    return float((true[:, None] > wrong[None, :]).float().mean()) if len(true) and len(wrong) else math.nan


if __name__ == "__main__":
    main()
