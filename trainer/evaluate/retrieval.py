"""Recall of text-to-image and image-to-text retrieval, exact, without ever holding the whole table of scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch

from foundation.errors import InvalidInput
from foundation.text import counted

Direction = Literal["text_to_image", "image_to_text"]
BOTH: tuple[Direction, ...] = ("text_to_image", "image_to_text")
KS = (1, 5, 10)  # the paper's Recall@K (section 3.1.1)
SCORES_AT_ONCE = 2**24  # 64 MiB of float32


class FeatureError(InvalidInput, ValueError):
    """Features or relevance that no recall can be computed from."""


@dataclass(frozen=True)
class Recall:
    """One direction: the share of queries, in percent, that have a relevant item among the first 1, 5 and 10."""

    r1: float
    r5: float
    r10: float
    queries: int  # with at least one relevant item; others are left out

    @property
    def mean(self) -> float:
        """Mean of the three, in percent."""
        return (self.r1 + self.r5 + self.r10) / 3


@dataclass(frozen=True)
class Retrieval:
    """Recall in one or both directions; a direction that is not reported is None (MUGE: text to image only, Table 2)."""

    text_to_image: Recall | None
    image_to_text: Recall | None
    images: int  # in the pool, with or without a text
    texts: int

    @property
    def directions(self) -> dict[Direction, Recall]:
        """The directions that are reported."""
        recalls = zip(BOTH, (self.text_to_image, self.image_to_text), strict=True)
        return {name: recall for name, recall in recalls if recall is not None}

    @property
    def mean_recall(self) -> float:
        """Mean of all reported figures, in percent: of six, or of three where one direction is reported."""
        means = [recall.mean for recall in self.directions.values()]
        return sum(means) / len(means)

    def to_json(self) -> dict[str, Any]:
        """Flat: mean_recall, images, texts, and DIRECTION_r1, _r5, _r10, _mean, _queries of each reported direction."""
        line: dict[str, Any] = {"mean_recall": self.mean_recall, "images": self.images, "texts": self.texts}
        for name, recall in self.directions.items():
            figures = {
                "r1": recall.r1,
                "r5": recall.r5,
                "r10": recall.r10,
                "mean": recall.mean,
                "queries": recall.queries,
            }
            line |= {f"{name}_{figure}": percent for figure, percent in figures.items()}
        return line


def retrieval_recall(
    image_features: torch.Tensor,
    text_features: torch.Tensor,
    text_to_images: Sequence[AbstractSet[int]],
    directions: Sequence[Direction] = BOTH,
    scores_at_once: int = SCORES_AT_ONCE,
) -> Retrieval:
    """Recall@1, 5 and 10 from cosines.

    A query counts as found at k when any of its relevant items is among its k best. Ties are broken against the model: an
    item that is not relevant and scores the same stands before the relevant one, so a model that gives all items the same
    feature gets no recall. A query without a relevant item is left out; as an item it stays in the pool.

    Args:
        image_features: [I, D], floating point, normalised to length 1.
        text_features: [T, D], the same, on the same device.
        text_to_images: for each of the T texts, the positions (0 … I-1) of its relevant images.
        directions: which ones to compute.
        scores_at_once: scores held at a time; time is the same, memory 4 bytes a score and one more.

    Raises:
        FeatureError: shapes that do not fit, a feature that is no number, positions outside the pool, or no query with a
            relevant item.
    """
    _check(image_features, text_features, text_to_images)
    recalls: dict[str, Recall] = {}
    with _full_precision():
        images, texts = image_features.float(), text_features.float()
        if "text_to_image" in directions:
            recalls["text_to_image"] = _recall(texts, images, text_to_images, scores_at_once)
        if "image_to_text" in directions:
            recalls["image_to_text"] = _recall(images, texts, invert(text_to_images, len(images)), scores_at_once)
    if not recalls:
        raise FeatureError(f"no direction asked for; expected one or both of {', '.join(BOTH)}")
    return Retrieval(recalls.get("text_to_image"), recalls.get("image_to_text"), len(images), len(texts))


def invert(relevance: Sequence[AbstractSet[int]], items: int) -> list[set[int]]:
    """Text → images as image → texts, for `items` images."""
    inverse: list[set[int]] = [set() for _ in range(items)]
    for query, relevant in enumerate(relevance):
        for item in relevant:
            inverse[item].add(query)
    return inverse


def _recall(
    queries: torch.Tensor, items: torch.Tensor, relevance: Sequence[AbstractSet[int]], scores_at_once: int
) -> Recall:
    answerable = [number for number, relevant in enumerate(relevance) if relevant]
    if not answerable:
        raise FeatureError("no query has a relevant item")
    chunk = max(1, scores_at_once // len(items))
    hits = [0] * len(KS)
    for start in range(0, len(answerable), chunk):
        rows = answerable[start : start + chunk]
        before = _items_before(queries[rows] @ items.T, [relevance[row] for row in rows])
        hits = [hit + int((before < k).sum()) for hit, k in zip(hits, KS, strict=True)]
    r1, r5, r10 = (100 * hit / len(answerable) for hit in hits)
    return Recall(r1, r5, r10, len(answerable))


def _items_before(scores: torch.Tensor, relevance: Sequence[AbstractSet[int]]) -> torch.Tensor:
    """For each row, how many items that are not relevant score at least as high as the best relevant one; changes `scores`."""
    pairs = torch.tensor(
        [(row, item) for row, relevant in enumerate(relevance) for item in relevant], device=scores.device
    )
    rows, items = pairs.T
    best = scores.new_full((len(scores),), -torch.inf).scatter_reduce(0, rows, scores[rows, items], "amax")
    scores[rows, items] = -torch.inf
    return (scores >= best[:, None]).sum(dim=1)


def _check(images: torch.Tensor, texts: torch.Tensor, relevance: Sequence[AbstractSet[int]]) -> None:
    if images.ndim != 2 or texts.ndim != 2 or images.shape[1] != texts.shape[1] or not len(images):
        raise FeatureError(f"features must be [I, D] and [T, D]; found {list(images.shape)} and {list(texts.shape)}")
    if len(relevance) != len(texts):
        raise FeatureError(f"{counted(len(texts), 'text')}, but relevance for {len(relevance)}")
    for name, features in (("image", images), ("text", texts)):
        bad = (~torch.isfinite(features).all(dim=1)).nonzero().flatten().tolist()
        if bad:
            raise FeatureError(f"{len(bad)} {name} features are no numbers, the first that of {name} {bad[0]}")
    for text, relevant in enumerate(relevance):
        for item in relevant:
            if not 0 <= item < len(images):
                raise FeatureError(f"text {text} names image {item}; there are {len(images)}")


@contextmanager
def _full_precision() -> Iterator[None]:
    """Matrix products in full float32: in TF32 many scores would be equal that are not."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.no_grad(), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
