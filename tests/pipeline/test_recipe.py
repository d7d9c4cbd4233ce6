from __future__ import annotations

from pathlib import Path

import pytest

from filters.base import differences
from pipeline.recipe import Recipe, RecipeError, dump_recipe, load_recipe
from pipeline.recipe_text import annotated

RECIPES = Path(__file__).parents[2] / "recipes"


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_that_ship_are_valid_and_survive_a_round_trip(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    assert load_recipe(write(tmp_path, dump_recipe(recipe))) == recipe
    assert load_recipe(write(tmp_path, annotated(recipe))) == recipe


def test_the_design_card_and_the_paper() -> None:
    card, paper = load_recipe(RECIPES / "chinese_clip.yaml"), load_recipe(RECIPES / "paper.yaml")
    assert [source.min_score for source in card.sources.values()] == [0.26, 0.26]
    assert [source.min_score for source in paper.sources.values()] == [0.26, None]
    for source in (*card.sources.values(), *paper.sources.values()):
        assert source.rules.caption_length is not None
        assert (source.rules.caption_length.min, source.rules.caption_length.max) == (5, 50)
        assert source.rules.blacklist is not None


def test_every_value_is_described() -> None:
    undescribed = [
        line
        for line in annotated(load_recipe(RECIPES / "chinese_clip.yaml")).splitlines()
        if "#" not in line and ": " in line
    ]
    assert [line.strip() for line in undescribed if not line.strip().startswith("kind:")] == []


MISTAKES = {
    "misspelt key": (
        "  a:\n    kind: wukong\n    files: [x]\n    min_scor: 0.3\n",
        "recipe.yaml:5",
        "did you mean `min_score`?",
    ),
    "misspelt rule": (
        "  a:\n    kind: wukong\n    files: [x]\n    rules:\n      caption_lenght: {}\n",
        "recipe.yaml:6",
        "did you mean `caption_length`?",
    ),
    "value out of range": (
        "  a:\n    kind: wukong\n    files: [x]\n    min_score: 26\n",
        "recipe.yaml:5",
        "less than or equal to 1; found 26",
    ),
    "unknown kind": ("  a:\n    kind: wukon\n    files: [x]\n", "recipe.yaml:2", "'laion', 'wukong', 'table'"),
    "missing files": ("  a:\n    kind: wukong\n", "recipe.yaml:2", "sources.a.files: field required"),
    "wrong type": (
        "  a:\n    kind: wukong\n    files: [x]\n    rules: {caption_length: {min: five}}\n",
        "recipe.yaml:5",
        "found 'five'",
    ),
}


@pytest.mark.parametrize("text, place, hint", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_answered_with_place_value_and_what_is_allowed(
    tmp_path: Path, text: str, place: str, hint: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, "sources:\n" + text))
    assert place in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize("text", ["- a list", "a: [", ""], ids=["list", "not YAML", "empty"])
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        load_recipe(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.yaml"):
        load_recipe(tmp_path / "nowhere.yaml")


def test_overrides_lie_over_the_file() -> None:
    recipe = load_recipe(RECIPES / "chinese_clip.yaml", ["sources.laion.min_score=0.3", "download.image_size=336"])
    assert (recipe.sources["laion"].min_score, recipe.download.image_size) == (0.3, 336)
    with pytest.raises(RecipeError, match=r"key\.path=value"):
        load_recipe(RECIPES / "chinese_clip.yaml", ["nonsense"])


@pytest.mark.parametrize(
    "override, first",
    [
        ("sources.laion.min_score=0.3", "select"),
        ("publish.pairs_per_shard=7", "publish"),
        ("sources.laion.rules.caption_length.max=60", "plan"),
        ("download.image_size=336", "download"),
        ("score.max_tokens=77", "score"),
        ("download.threads=8", None),
    ],
)
def test_a_change_reaches_only_the_stages_it_touches(override: str, first: str | None) -> None:
    old, new = load_recipe(RECIPES / "chinese_clip.yaml"), load_recipe(RECIPES / "chinese_clip.yaml", [override])
    changed = [
        stage for stage in ("plan", "download", "score", "select", "publish") if old.digest(stage) != new.digest(stage)
    ]
    assert (changed[0] if changed else None) == first
    assert next(differences(old.canonical(), new.canonical())).startswith(override.split("=")[0])


def test_a_recipe_cannot_be_changed_in_place() -> None:
    recipe: Recipe = load_recipe(RECIPES / "paper.yaml")
    with pytest.raises(ValueError, match="frozen"):
        recipe.name = "other"  # type: ignore[misc]
