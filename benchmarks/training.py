"""Training steps against the cn_clip reference model under an equal plain loop: same size, batch and data.

    python -m benchmarks.training            # ViT-B/16 with RoBERTa-wwm-Base's shape, random weights

Each side runs in the fastest of the precisions it has here: float32, or bfloat16 autocast (zhclip: with its frozen tower's
weights in that type). cn_clip pads captions to 52 tokens, as its own data set does; zhclip to the longest of the batch.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from benchmarks.reference import reference
from trainer.config import Stage, TrainRecipe, load_train_recipe
from trainer.gradcache import plain_step
from trainer.models.clip import build_model
from trainer.optimizer import make_optimizer
from trainer.tokenizer import tokenize
from trainer.towers import StageModel

CAPTIONS = (
    "一只白色的猫坐在窗边",
    "春天的公园里樱花盛开",
    "红色跑车停在路边",
    "海边的日落与沙滩",
    "新款女装连衣裙",
    "故宫角楼的雪景",
)
CPU = torch.device("cpu")
Step = Callable[[], float]


def zhclip_step(recipe: TrainRecipe, stage: Stage, images: torch.Tensor, captions: list[str]) -> Step:
    """One update as `zhclip train` makes it."""
    model = StageModel(build_model(recipe.model), stage, recipe, CPU).train()
    optimizer = make_optimizer(model, stage)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = plain_step(model, images, tokenize(captions))
        optimizer.step()
        return float(loss)

    return step


def cn_clip_step(recipe: TrainRecipe, stage: Stage, images: torch.Tensor, captions: list[str]) -> Step:
    """One update as cn_clip's training script makes it on one device: naive loss, image tower in train mode, autocast."""
    from cn_clip.clip import tokenize as cn_tokenize

    model = reference(recipe.model).train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not (stage.freeze and name.startswith("visual.")))
    optimizer = make_optimizer(model, stage, fused=False)  # torch's default, which the reference uses
    labels = torch.arange(len(images))

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            image_features, text_features, scale = model(images, cn_tokenize(captions, context_length=52))
            logits = scale * image_features @ text_features.t()
            loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.t(), labels)) / 2
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


def seconds(step: Step) -> float:
    """Time of one step."""
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


def main() -> None:
    """Prints pairs per second and ratios for both stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="vit-b-16")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    table = Table(title=f"Training, {given.preset}, batch {given.batch}, pairs/s (median)", title_justify="left")
    for column in ("stage", "zhclip", "in", "cn_clip", "in", "ratio", "wanted"):
        table.add_column(column)
    for freeze, wanted in ((("image",), 1.4), ((), 1.15)):
        best = {
            name: max((measure(make, given, precision, freeze), precision) for precision in ("float32", "bfloat16"))
            for name, make in (("zhclip", zhclip_step), ("cn_clip", cn_clip_step))
        }
        (speed, dtype), (peer_speed, peer_dtype) = best["zhclip"], best["cn_clip"]
        stage = "1, image tower frozen" if freeze else "2, both towers"
        table.add_row(
            stage, f"{speed:.1f}", dtype, f"{peer_speed:.1f}", peer_dtype, f"{speed / peer_speed:.2f}", f"{wanted}"
        )
    Console().print(table)


def measure(make: Callable[..., Step], given: argparse.Namespace, precision: str, freeze: tuple[str, ...]) -> float:
    """Pairs per second of one side in one precision; the first step, which warms up, does not count."""
    recipe = load_train_recipe(given.preset, [f"precision={precision}"])
    stage = Stage(freeze=freeze, batch_size=given.batch)  # type: ignore[arg-type]
    torch.manual_seed(0)
    size = recipe.model.vision.image_size
    captions = [CAPTIONS[i % len(CAPTIONS)] for i in range(given.batch)]
    step = make(recipe, stage, torch.randn(given.batch, 3, size, size), captions)
    step()
    return given.batch / statistics.median(seconds(step) for _ in range(given.rounds))


if __name__ == "__main__":
    main()
