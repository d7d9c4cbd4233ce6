from __future__ import annotations

from pathlib import Path

import pytest

from foundation.config import ConfigError, annotated, differences, dump
from pipeline.recipe import Recipe, load_recipe
from pipeline.recipe.builtin import builtin_names
from pipeline.stages.registry import digest
from tests.support.paths import REPOSITORY

RECIPES = [*(REPOSITORY / "demo/recipes").glob("*.yaml"), *(f"builtin:{name}" for name in builtin_names())]


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted(map(str, RECIPES)))
def test_recipes_that_ship_are_valid_and_survive_a_round_trip(path: str, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    assert load_recipe(write(tmp_path, dump(recipe))) == recipe
    assert load_recipe(write(tmp_path, annotated(recipe))) == recipe


def test_the_design_card_and_the_paper() -> None:
    card, paper = load_recipe("builtin:chinese_clip"), load_recipe("builtin:paper")
    assert [source.min_score for source in card.sources.values()] == [0.26, 0.26]
    assert [source.min_score for source in paper.sources.values()] == [0.26, None]
    for source in (*card.sources.values(), *paper.sources.values()):
        assert source.rules.caption_length is not None
        assert (source.rules.caption_length.min, source.rules.caption_length.max) == (5, 50)
        assert source.rules.blacklist is not None


@pytest.mark.parametrize(
    "name, hint",
    [
        ("recipes/chinese_clip.yaml", "did you mean builtin:chinese_clip?"),  # where it lay once
        ("chinese_clip", "did you mean builtin:chinese_clip?"),
        ("builtin:nothing", "builtin:NAME names one that comes with zhclip: chinese_clip, danqing, paper"),
    ],
)
def test_recipe_that_does_not_exist_is_answered_with_those_that_do(name: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_recipe(name)
    assert str(raised.value) == f"{name}: there is no such recipe; {hint}"


def test_every_value_is_described() -> None:
    undescribed = [
        line for line in annotated(load_recipe("builtin:chinese_clip")).splitlines() if "#" not in line and ": " in line
    ]
    assert [line.strip() for line in undescribed if not line.strip().startswith("kind:")] == []


IMAGE_SETS = """
sources:
  coco:
    kind: coco
    files: [captions_train2014.json]
    images: train2014.zip
    translation: {files: [zh.json], model: Helsinki-NLP/opus-mt-en-zh}
    test_sets:
      karpathy: {files: [dataset_coco.json]}
  coco_cn: {kind: coco, captions: coco_cn, files: [imageid.human-written-caption.txt]}
  vg: {kind: visual_genome, files: [region_descriptions.json], image_data: image_data.json, pairs: regions}
"""


def test_sources_with_images_of_their_own_are_shown_in_full_and_survive_a_round_trip(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, IMAGE_SETS))
    assert load_recipe(write(tmp_path, dump(recipe))) == recipe
    shown = annotated(recipe)
    assert load_recipe(write(tmp_path, shown)) == recipe
    assert "images: [train2014.zip]" in shown
    lines = {line.strip().split(" ")[0] for line in shown.splitlines() if "#" in line}
    assert {"test_sets:", "karpathy:", "splits:", "match:", "translation:", "model:", "pairs:", "max_joined:"} <= lines
    assert [source.min_score for source in recipe.sources.values()] == [None] * 3


@pytest.mark.parametrize(
    "values, longest",
    [("", 300), ("max_joined: 120", 120), ("rules: {han: null}", 300), ("pairs: regions", 50), ("max_joined: 2", 5)],
)
def test_the_length_rule_of_joined_captions_follows_their_bound(tmp_path: Path, values: str, longest: int) -> None:
    text = f"sources:\n  vg:\n    kind: visual_genome\n    files: [x]\n    image_data: y\n    {values}\n"
    recipe = load_recipe(write(tmp_path, text))
    assert recipe.sources["vg"].rules.caption_length.max == longest
    assert load_recipe(write(tmp_path, dump(recipe))) == recipe


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
    "unknown kind": (
        "  a:\n    kind: wukon\n    files: [x]\n",
        "recipe.yaml:3",
        "unknown kind `wukon`; did you mean `wukong`?",
    ),
    "missing files": ("  a:\n    kind: wukong\n", "recipe.yaml:2", "sources.a.files: a value is needed"),
    "misspelt value of a new kind": (
        "  a:\n    kind: coco\n    files: [x]\n    imges: there\n",
        "recipe.yaml:5",
        "did you mean `images`?",
    ),
    "misspelt value of a named list": (
        "  a:\n    kind: coco\n    files: [x]\n    test_sets:\n      karpathy:\n        file: [y]\n",
        "recipe.yaml:7",
        "did you mean `files`?",
    ),
    "a list's name that is no reason code": (
        "  a:\n    kind: coco\n    files: [x]\n    test_sets: {COCO-CN: {files: [y]}}\n",
        "recipe.yaml:5",
        "COCO-CN",
    ),
    "restval": (
        "  a:\n    kind: coco\n    files: [x]\n    test_sets: {k: {files: [y], splits: [restval]}}\n",
        "recipe.yaml:5",
        "'train', 'val' or 'test'; found 'restval'",
    ),
    "misspelt translation": (
        "  a:\n    kind: visual_genome\n    files: [x]\n    image_data: y\n    translation: {modl: z}\n",
        "recipe.yaml:6",
        "did you mean `model`?",
    ),
    "joined captions that the rules reject": (
        "  a:\n    kind: visual_genome\n    files: [x]\n    image_data: y\n    rules: {caption_length: {max: 50}}\n",
        "recipe.yaml:2",
        "max_joined (300) must not exceed rules.caption_length.max (50)",
    ),
    "missing image data": (
        "  a:\n    kind: visual_genome\n    files: [x]\n",
        "recipe.yaml:2",
        "image_data: a value is needed",
    ),
    "a translation of Chinese": (
        "  a:\n    kind: coco\n    files: [x]\n    captions: coco_cn\n    translation: {model: m}\n",
        "recipe.yaml:2",
        "it takes no `translation`",
    ),
    "a translation of a table without English": (
        "  a:\n    kind: table\n    files: [x]\n    translation: {model: m}\n",
        "recipe.yaml:2",
        "a translation needs the column `english`",
    ),
    "misspelt column": (
        "  a:\n    kind: table\n    files: [x]\n    columns: {url: u, captoin: c}\n",
        "recipe.yaml:5",
        "a pair has no column `captoin`; did you mean `caption`?",
    ),
    "wrong type": (
        "  a:\n    kind: wukong\n    files: [x]\n    rules: {caption_length: {min: five}}\n",
        "recipe.yaml:5",
        "found 'five'",
    ),
}


@pytest.mark.parametrize("text, location, hint", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_answered_with_place_value_and_what_is_allowed(
    tmp_path: Path, text: str, location: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(write(tmp_path, "sources:\n" + text))
    assert location in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize("text", ["- a list", "a: [", ""], ids=["list", "not YAML", "empty"])
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"recipe\.yaml"):
        load_recipe(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_recipe(tmp_path / "nowhere.yaml")


def test_overrides_lie_over_the_file() -> None:
    recipe = load_recipe("builtin:chinese_clip", ["sources.laion.min_score=0.3", "download.image_size=336"])
    assert (recipe.sources["laion"].min_score, recipe.download.image_size) == (0.3, 336)
    with pytest.raises(ConfigError, match=r"key\.path=value"):
        load_recipe("builtin:chinese_clip", ["nonsense"])


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
    old, new = load_recipe("builtin:chinese_clip"), load_recipe("builtin:chinese_clip", [override])
    changed = [
        stage
        for stage in ("plan", "download", "score", "select", "publish")
        if digest(old, stage) != digest(new, stage)
    ]
    assert (changed[0] if changed else None) == first
    assert next(differences(old.canonical(), new.canonical())).startswith(override.split("=")[0])


def test_a_recipe_cannot_be_changed_in_place() -> None:
    recipe: Recipe = load_recipe("builtin:paper")
    with pytest.raises(ValueError, match="frozen"):
        recipe.name = "other"  # type: ignore[misc]
