"""Recall against a naive reference, on features whose scores are exact in float32, so that ties are ties."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from trainer.evaluate.retrieval import FeatureError, Recall, Retrieval, invert, retrieval_recall


def integers(rows: int, columns: int, seed: int) -> torch.Tensor:
    """Small whole numbers: products and sums are exact and many of them are equal."""
    return torch.from_numpy(np.random.default_rng(seed).integers(-2, 3, (rows, columns))).float()


def some_relevance(texts: int, images: int, seed: int) -> list[set[int]]:
    """None to four images for each text; several texts share an image, some images have no text."""
    random = np.random.default_rng(seed)
    return [set(random.integers(0, images, random.integers(0, 5)).tolist()) for _ in range(texts)]


def naive(queries: np.ndarray, items: np.ndarray, relevance: list[set[int]]) -> tuple[float, float, float, int]:
    """Sorts all items of each query; an irrelevant item goes before a relevant one of equal score."""
    hits, answerable = {1: 0, 5: 0, 10: 0}, 0
    for query, relevant in zip(queries, relevance, strict=True):
        if not relevant:
            continue
        answerable += 1
        ranked = sorted(range(len(items)), key=lambda item: (-float(query @ items[item]), item in relevant))
        for k in hits:
            hits[k] += any(item in relevant for item in ranked[:k])
    return (*(100 * hits[k] / answerable for k in (1, 5, 10)), answerable)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scores_at_once", [1, 700, 2**24])
def test_equals_the_naive_reference_with_ties_in_chunks_of_any_size(seed: int, scores_at_once: int) -> None:
    images, texts = integers(61, 6, seed), integers(97, 6, seed + 100)
    relevance = some_relevance(97, 61, seed)
    result = retrieval_recall(images, texts, relevance, scores_at_once=scores_at_once)
    expected = naive(texts.numpy(), images.numpy(), relevance)
    assert result.text_to_image == Recall(*expected)
    assert result.image_to_text == Recall(*naive(images.numpy(), texts.numpy(), invert(relevance, 61)))
    assert 0 < expected[0] < expected[2] < 100  # neither none nor all, so that a mistake would show


def test_ties_matter_in_these_features() -> None:
    scores = integers(97, 6, 100) @ integers(61, 6, 0).T
    assert any(len(row.unique()) < len(row) for row in scores)


def test_any_relevant_image_will_do_and_the_best_one_counts() -> None:
    images = torch.eye(12)
    text = torch.linspace(1, 0.1, 12)[None]  # image 0 is best, image 11 last
    recall = retrieval_recall(images, text, [{4, 11}], ["text_to_image"]).text_to_image
    assert recall == Recall(0.0, 100.0, 100.0, 1)
    assert retrieval_recall(images, text, [{11}], ["text_to_image"]).text_to_image == Recall(0.0, 0.0, 0.0, 1)


def test_other_relevant_items_do_not_push_a_relevant_one_back() -> None:
    images, texts = torch.ones(8, 1), torch.ones(1, 1)
    assert retrieval_recall(images, texts, [set(range(8))]).text_to_image == Recall(100.0, 100.0, 100.0, 1)


def test_a_collapsed_model_gets_no_recall() -> None:
    images, texts = torch.full((50, 4), 0.5), torch.full((50, 4), 0.5)
    assert retrieval_recall(images, texts, [{n} for n in range(50)]).mean_recall == 0.0


def test_a_query_without_relevant_items_is_left_out_but_stays_in_the_pool() -> None:
    images, texts = torch.eye(3), torch.eye(3)
    result = retrieval_recall(images, texts, [{0}, set(), {0}])
    assert result.text_to_image == Recall(50.0, 100.0, 100.0, 2)  # text 2 is nearer to image 2, which is still there
    assert result.image_to_text == Recall(100.0, 100.0, 100.0, 1)
    assert (result.images, result.texts) == (3, 3)


def test_mean_recall_is_over_what_is_reported() -> None:
    both = Retrieval(Recall(10, 20, 30, 5), Recall(40, 50, 60, 5), 5, 5)
    assert both.mean_recall == pytest.approx(35)
    assert Retrieval(Recall(10, 20, 30, 5), None, 5, 5).mean_recall == pytest.approx(20)


def test_json_is_flat_and_leaves_out_what_is_not_reported() -> None:
    line = json.loads(json.dumps(Retrieval(Recall(10, 20, 30, 4), None, 7, 5).to_json()))
    assert line == {
        "mean_recall": 20, "images": 7, "texts": 5, "text_to_image_r1": 10, "text_to_image_r5": 20,
        "text_to_image_r10": 30, "text_to_image_mean": 20, "text_to_image_queries": 4,
    }  # fmt: skip


def test_low_precision_features_are_compared_in_float32() -> None:
    images, texts = integers(30, 4, 1), integers(40, 4, 2)
    relevance = some_relevance(40, 30, 3)
    assert retrieval_recall(images.bfloat16(), texts.bfloat16(), relevance) == retrieval_recall(
        images, texts, relevance
    )


def test_the_precision_of_matrix_products_is_what_it_was() -> None:
    torch.set_float32_matmul_precision("medium")
    try:
        retrieval_recall(torch.eye(2), torch.eye(2), [{0}, {1}])
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(
    ("images", "texts", "relevance", "message"),
    [
        (torch.eye(3), torch.ones(2, 4), [{0}, {1}], r"\[3, 3\] and \[2, 4\]"),
        (torch.eye(3), torch.eye(3), [{0}], "3 texts, but relevance for 1"),
        (torch.eye(3), torch.eye(3), [{0}, {7}, {1}], "text 1 names image 7; there are 3"),
        (
            torch.eye(3) * torch.nan,
            torch.eye(3),
            [{0}, {1}, {2}],
            "3 image features are no numbers, the first that of image 0",
        ),
        (torch.eye(3), torch.eye(3), [set(), set(), set()], "no query has a relevant item"),
    ],
)
def test_bad_input_is_named(images: torch.Tensor, texts: torch.Tensor, relevance: list[set[int]], message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        retrieval_recall(images, texts, relevance)


def test_cn_clip_counts_the_same(tmp_path_factory: pytest.TempPathFactory) -> None:
    evaluation = pytest.importorskip("cn_clip.eval.evaluation")
    folder = tmp_path_factory.mktemp("cn_clip")
    random = np.random.default_rng(5)
    images = torch.nn.functional.normalize(torch.from_numpy(random.normal(size=(200, 16))).float(), dim=-1)
    relevance = [set(random.choice(200, random.integers(1, 4), replace=False).tolist()) for _ in range(80)]
    noise = torch.from_numpy(random.normal(size=(80, 16))).float() * 0.3
    texts = torch.nn.functional.normalize(images[[min(images_of_text) for images_of_text in relevance]] + noise, dim=-1)
    golden = [{"text_id": n, "image_ids": sorted(images_of_text)} for n, images_of_text in enumerate(relevance)]
    top = [
        {"text_id": n, "image_ids": row.argsort(descending=True)[:10].tolist()}
        for n, row in enumerate(texts @ images.T)
    ]
    for name, rows in (("golden", golden), ("top", top)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    expected = evaluation.compute_score(str(folder / "golden"), str(folder / "top"))
    result = retrieval_recall(images, texts, relevance).text_to_image
    assert result is not None and 0 < result.r1 < 100
    assert [result.mean, result.r1, result.r5, result.r10] == pytest.approx(expected)
