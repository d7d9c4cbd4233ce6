"""Filters on declared values, with the dirt real files have."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pydantic import ValidationError

from filters.base import Filter
from filters.metadata import DeclaredSize, MetadataSimilarity, NsfwTag, Punsafe, Pwatermark


def answer(rule: Filter, **columns: list) -> dict[str, list[bool]]:
    return {reason: mask.to_pylist() for reason, mask in rule.rejects(pa.table(columns)).items()}


def test_similarity_takes_dirt_for_missing() -> None:
    values = pa.array([0.3, 0.26, 0.2599, 6016.0, None, float("nan"), -1.0, -1.1], pa.float32())
    low = [False, False, True, False, False, False, True, False]
    missing = [False, False, False, True, True, True, False, True]
    assert answer(MetadataSimilarity(), similarity=values) == {
        "similarity_too_low": low,
        "similarity_missing": [False] * 8,
    }
    assert answer(MetadataSimilarity(missing="reject"), similarity=values)["similarity_missing"] == missing


@pytest.mark.parametrize(("rule", "column"), [(Punsafe, "punsafe"), (Pwatermark, "pwatermark")])
def test_scores(rule: type[Punsafe] | type[Pwatermark], column: str) -> None:
    values = pa.array([0.0, 0.7, 0.70001, 1.0, 1.5, None, float("nan")], pa.float32())
    masks = answer(rule(max=0.7, missing="reject"), **{column: values})
    assert masks[f"{column}_too_high"] == [False, False, True, True, False, False, False]
    assert masks[f"{column}_missing"] == [False, False, False, False, True, True, True]
    assert not any(answer(rule(), **{column: values})[f"{column}_missing"])


def test_all_null_columns_are_kept() -> None:
    empty = pa.nulls(3)
    assert not any(answer(Punsafe(), punsafe=empty)["punsafe_too_high"])
    assert not any(answer(NsfwTag(), nsfw=empty)["nsfw_tag"])


def test_declared_size() -> None:
    width = pa.array([200, 199, 600, 601, 5000, None, 100, 0, None], pa.int32())
    height = pa.array([200, 200, 200, 200, 5000, 9000, None, 300, None], pa.int32())
    masks = answer(DeclaredSize(max_side=4999), width=width, height=height)
    assert masks["image_too_small"] == [False, True, False, False, False, False, True, False, False]
    assert masks["image_too_large"] == [False, False, False, False, True, True, False, False, False]
    assert masks["image_aspect"] == [False, False, False, True, False, False, False, False, False]
    assert not any(answer(DeclaredSize(max_aspect=None), width=width, height=height)["image_aspect"])


def test_size_bounds_must_be_ordered() -> None:
    with pytest.raises(ValidationError, match="must not exceed max_side"):
        DeclaredSize(min_side=300, max_side=200)


def test_nsfw_tag() -> None:
    tags = ["UNLIKELY", "UNSURE", "NSFW", "nsfw ", None, ""]
    assert answer(NsfwTag(), nsfw=tags)["nsfw_tag"] == [False, False, True, True, False, False]
    assert answer(NsfwTag(reject=("unsure",)), nsfw=tags)["nsfw_tag"] == [False, True, False, False, False, False]
