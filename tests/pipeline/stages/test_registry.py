"""The registry makes each stage once, and everyone else asks it, or a function of the stage's module."""

from __future__ import annotations

import pytest

from pipeline.recipe import Recipe, load_recipe
from pipeline.stages.base import Stage
from pipeline.stages.registry import STAGES, digest


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("builtin:chinese_clip", ["images.test_min_cosine=0.9", "score.embeddings=true"])


def test_a_stage_that_asks_for_inputs_of_another_makes_no_second_one(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stage, "__init__", lambda self: pytest.fail(f"made {type(self).__name__} again"))
    digests = {name: digest(recipe, name) for name in STAGES}
    assert len({*digests.values()}) > 1
