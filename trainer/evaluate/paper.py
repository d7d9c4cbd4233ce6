"""What the paper reports: zero-shot rows of Tables 2, 3 and 4 of *Chinese CLIP* (arXiv 2211.01335), in percent."""

from __future__ import annotations

from trainer.evaluate.layouts import Benchmark
from trainer.evaluate.retrieval import Recall, Retrieval
from trainer.models.config import ModelConfig

TABLES: dict[Benchmark, str] = {
    "muge": "Table 2, validation",
    "flickr30k-cn": "Table 3, test",
    "coco-cn": "Table 4, test",
}

# benchmark → preset → text to image R@1, R@5, R@10, then (Tables 3 and 4) image to text R@1, R@5, R@10
ZERO_SHOT: dict[Benchmark, dict[str, tuple[float, ...]]] = {
    "muge": {
        "rn50": (42.6, 68.6, 77.9),
        "vit-b-16": (52.1, 76.7, 84.4),
        "vit-l-14": (56.3, 79.8, 86.2),
        "vit-l-14-336": (59.0, 81.4, 87.8),
        "vit-h-14": (63.0, 84.1, 89.2),
    },
    "flickr30k-cn": {
        "rn50": (48.8, 76.0, 84.6, 60.0, 85.9, 92.0),
        "vit-b-16": (62.7, 86.9, 92.8, 74.6, 93.5, 97.1),
        "vit-l-14": (68.0, 89.7, 94.4, 80.2, 96.6, 98.2),
        "vit-l-14-336": (69.0, 90.7, 95.4, 83.3, 97.2, 98.5),
        "vit-h-14": (71.2, 91.4, 95.5, 81.6, 97.5, 98.8),
    },
    # Translated COCO is part of the paper's pretraining data, so it shows its own figures here in grey.
    "coco-cn": {
        "rn50": (48.1, 81.3, 90.5, 51.6, 81.2, 90.5),
        "vit-b-16": (62.2, 86.6, 94.9, 57.0, 84.1, 93.6),
        "vit-l-14": (64.0, 89.2, 94.4, 60.4, 84.2, 92.9),
        "vit-l-14-336": (64.7, 89.6, 94.6, 63.4, 87.2, 94.4),
        "vit-h-14": (69.2, 89.9, 96.1, 63.0, 86.6, 92.9),
    },
}


SIZES = tuple(ZERO_SHOT["muge"])
BY_SHAPE = {  # layers, width and pixels of the image tower (Tables 1, 6, 7; open_clip counts a ResNet's width at its stem)
    (16, 64, 224): "rn50",
    (12, 768, 224): "vit-b-16",
    (24, 1024, 224): "vit-l-14",
    (24, 1024, 336): "vit-l-14-336",
    (32, 1280, 224): "vit-h-14",
}


def published(benchmark: Benchmark | None, size: str | None) -> Retrieval | None:
    """The paper's figures for one size of model (the name of its preset); None where it has none.

    Its mean recall is computed from the rounded figures and so may differ from the paper's own by 0.1. `queries`, `images`
    and `texts` are 0: the paper does not state them.
    """
    row = ZERO_SHOT[benchmark].get(size or "") if benchmark else None
    if row is None:
        return None
    image_to_text = Recall(row[3], row[4], row[5], queries=0) if len(row) > 3 else None
    return Retrieval(Recall(row[0], row[1], row[2], queries=0), image_to_text, images=0, texts=0)


def size_of(config: ModelConfig) -> str | None:
    """The size of the paper (Table 1) that a model has, as the name of its preset; None for any other."""
    vision = config.vision
    layers = vision.layers if isinstance(vision.layers, int) else sum(vision.layers)
    return BY_SHAPE.get((layers, vision.width, vision.image_size))
