"""Zero-shot retrieval of a model, as a table beside the paper's figures and as JSON."""

from __future__ import annotations

from typing import Any

import torch
from rich.table import Table
from torch import nn

from foundation.text import counted
from trainer.evaluate.datasets import EvaluationSet
from trainer.evaluate.encode import encode_images, encode_texts, ready
from trainer.evaluate.paper import SIZES, TABLES, published
from trainer.evaluate.retrieval import Direction, Retrieval, retrieval_recall

ARROWS: dict[Direction, str] = {"text_to_image": "text → image", "image_to_text": "image → text"}


def evaluate_retrieval(
    model: nn.Module,
    evaluation_set: EvaluationSet,
    image_size: int,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    max_length: int = 52,
) -> Retrieval:
    """Zero-shot retrieval on one set.

    The model stays as it is, the mode of each module included. Features and cosines are float32 whatever `dtype`. Run on a
    CPU so far; the CUDA path is the same code.

    Args:
        model: with encode_image([B, 3, H, W]) and encode_text([B, L]), both to [B, D], on `device`.
        image_size: pixels of a side; images are squashed to the square (bicubic), as Chinese-CLIP does.
        batch_size: images, or texts, at a time.
        dtype: of the weights in this evaluation; another type than the model's makes a copy of it.
        max_length: tokens of a text, [CLS] and [SEP] included.

    Raises:
        EvaluationSetError: an image that does not decode.
        FeatureError: the model gives features that are no numbers.
    """
    device = torch.device(device)
    with ready(model, dtype) as encoder:
        images = encode_images(encoder, evaluation_set.images(), image_size, batch_size, device)
        texts = encode_texts(encoder, [text for _, text in evaluation_set.texts], batch_size, device, max_length)
    return retrieval_recall(images, texts, evaluation_set.text_to_images, evaluation_set.directions)


def retrieval_table(result: Retrieval, evaluation_set: EvaluationSet, size: str | None = None) -> Table:
    """The figures in the form of the paper's Tables 2 to 4, with its zero-shot rows beneath where it has the set.

    Args:
        size: the preset whose row to show (vit-b-16 …); None: the rows of all five sizes.
    """
    counts = f"{counted(result.images, 'image')}, {counted(result.texts, 'text')}"
    table = Table(title=f"{evaluation_set.title}: {counts}; zero-shot, percent")
    table.add_column("")
    for direction in result.directions:
        for k in (1, 5, 10):
            table.add_column(f"{ARROWS[direction]}\nR@{k}" if k == 1 else f"\nR@{k}", justify="right")
    table.add_column("\nmean", justify="right")
    table.add_row("this model", *_cells(result), style="bold", end_section=True)
    for name in (size,) if size else SIZES:
        paper = published(evaluation_set.benchmark, name)
        if paper is not None and evaluation_set.benchmark:
            table.add_row(f"{name}, paper", *_cells(paper), style="dim")
            table.caption = f"paper: arXiv 2211.01335, {TABLES[evaluation_set.benchmark]} split"
    return table


def retrieval_report(result: Retrieval, evaluation_set: EvaluationSet, size: str | None = None) -> dict[str, Any]:
    """The same for JSON: set, layout, split, benchmark, the figures of `Retrieval.to_json`, and `paper`: null, or the same
    figures as the paper has them for `size`.
    """
    known = {
        "set": evaluation_set.name,
        "layout": evaluation_set.layout,
        "split": evaluation_set.split,
        "benchmark": evaluation_set.benchmark,
    }
    paper = published(evaluation_set.benchmark, size)
    return {**known, **result.to_json(), "paper": paper and {"model": size, **paper.to_json()}}


def _cells(result: Retrieval) -> list[str]:
    figures = [figure for recall in result.directions.values() for figure in (recall.r1, recall.r5, recall.r10)]
    return [f"{figure:.1f}" for figure in (*figures, result.mean_recall)]
