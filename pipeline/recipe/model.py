"""Recipes: what to curate, as validated YAML in which every value has a default, a unit and a description.

`load_recipe` answers bad input with the file, the line, the value found, what is allowed, and the nearest known name.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError, model_validator

from filters.duplicates import Duplicates
from foundation.config import Config, value
from foundation.errors import InvalidInput
from pipeline.recipe.builtin import no_such_recipe, recipe_path
from pipeline.recipe.download import Download
from pipeline.recipe.images import Images
from pipeline.recipe.score import Score
from pipeline.sources.registry import SOURCE_KINDS, AnySource

SPEED_ONLY = {"download": {"threads", "shard_deadline"}, "score": {"device"}}  # may change in the middle of a run
STAGES = ("translate", "plan", "download", "score", "select", "publish")  # the first only where a source has a model
SELECTING = (
    "min_score",
    "max_nsfw",
    "max_pairs",
    "cap_keeps",
)  # of a source: decided on scores, after everything costly


class RecipeError(InvalidInput, ValueError):
    """A recipe that cannot be used; the message names file, place, value and what is allowed."""


class Plan(Config):
    """How metadata is read and cut into shards."""

    shard_size: int = value(10_000, "rows of one download shard, at most", "pairs", ge=1, le=1_000_000)
    split_rows: int = value(262_144, "rows that one reading task takes on", "rows", ge=1_000)
    bucket_rows: int = value(250_000, "rows compared with one another in memory at a time", "rows", ge=100)


class Publish(Config):
    """What the curated shards look like."""

    pairs_per_shard: int = value(10_000, "pairs in one published tar", "pairs", ge=1, le=1_000_000)


class Limits(Config):
    """When so much failed that going on makes no sense."""

    unreadable_share: float = value(
        0.01, "stop when more of a source's files or rows cannot be read", "share", ge=0, le=1
    )
    download_failed_share: float = value(
        0.95, "stop when more of a run's downloads failed (14% success has been seen on old links)", "share", ge=0, le=1
    )
    attempts: int = value(3, "tries of a shard whose process died or ran out of time", "tries", ge=1)


class Recipe(Config):
    """A whole curation. `zhclip recipe show FILE` prints it with every default written out."""

    name: str = value("zhclip", "short name, used in the data card", pattern=r"^[\w.-]+$")
    sources: dict[str, AnySource] = value(
        ..., "name → source; earlier sources win over later ones in duplicates", min_length=1
    )
    duplicates: Duplicates = value(Duplicates(), "what counts as one pair, across all sources")
    plan: Plan = value(Plan(), "reading and cutting of metadata")
    download: Download = value(Download(), "fetching and resizing of images")
    score: Score = value(Score(), "the image-text model")
    images: Images = value(Images(), "duplicates by image, and images of test sets")
    publish: Publish = value(Publish(), "the published shards")
    limits: Limits = value(Limits(), "when to stop")

    @model_validator(mode="after")
    def _nsfw_scores_are_there(self) -> Recipe:
        asking = [name for name, source in self.sources.items() if source.max_nsfw is not None]
        if asking and not self.score.nsfw:
            raise ValueError(f"sources.{asking[0]}.max_nsfw needs score.nsfw: true; found false")
        return self

    @model_validator(mode="after")
    def _embeddings_are_there(self) -> Recipe:
        if self.images.confirmed_by and not self.score.embeddings:
            raise ValueError(
                f"images.{self.images.confirmed_by[0]} needs score.embeddings: true; found false (a run that was scored "
                "without embeddings cannot get them: that takes a new run)"
            )
        return self

    def canonical(self) -> dict[str, Any]:
        """All values, defaults included, as plain JSON types."""
        return self.model_dump(mode="json")

    def stage_inputs(self, stage: str) -> dict[str, Any]:
        """The part of the recipe that decides what `stage` itself does (not what the stages before it do)."""
        everything = self.canonical()
        sources = everything["sources"]
        select = {name: {key: source[key] for key in SELECTING} for name, source in sources.items()}
        card = {name: {key: source[key] for key in ("license", "homepage")} for name, source in sources.items()}
        plan = {name: _planned(source) for name, source in sources.items()}
        download = _without(everything["download"], SPEED_ONLY["download"])
        score = _unless_off(_without(everything["score"], SPEED_ONLY["score"]), "embeddings", "mirror_embeddings")
        images = _unless_off(everything["images"], "test_min_cosine")
        images["duplicates"] = images["duplicates"] and _unless_off(images["duplicates"], "min_cosine")
        embedded = {"score": score} if self.images.test_min_cosine is not None else {}
        return {
            "translate": _translated(everything),
            "plan": {"sources": plan, "duplicates": everything["duplicates"], "plan": everything["plan"]},
            "download": {"download": download},
            "score": {"score": score},
            "test_images": {"test_sets": images["test_sets"], "download": download, **embedded},
            "select": {"by_source": select, "images": images},
            "publish": {"publish": everything["publish"], "name": everything["name"], "card": card},
        }[stage]

    def digest(self, stage: str) -> str:
        """16 hex digits that change when this stage's output would: it covers all stages up to `stage`.

        Fingerprints of test images ("test_images") depend on no stage; their embeddings, where asked for, on the scorer.
        """
        if stage == "test_images":
            return _digest([self.stage_inputs(stage)])
        parts = [inputs for name in STAGES[: STAGES.index(stage) + 1] if (inputs := self.stage_inputs(name))]
        return _digest(parts)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, or `builtin:NAME`, with `key.path=value` overrides (values in YAML) laid over it.

    Raises:
        RecipeError: the file is missing, is not YAML, or holds a value that is not allowed.
    """
    given, path = path, recipe_path(path)
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except FileNotFoundError:
        raise RecipeError(no_such_recipe(given)) from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not YAML: {error}") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: a recipe is a mapping with at least `sources`; found {type(content).__name__}")
    for override in overrides:
        _override(content, override)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(_explain(error, path, text)) from None


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML; loading it gives an equal recipe."""
    return yaml.safe_dump(recipe.canonical(), allow_unicode=True, sort_keys=False, width=120)


def _translated(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the texts that are translated, and how; empty where no source has a model."""
    other = {"rules", "removal_lists", "test_sets", "images"}
    sources = {name: _without(_planned(source), other) for name, source in recipe["sources"].items()}
    models = [source["translation"] for source in sources.values() if (source.get("translation") or {}).get("model")]
    if not models:
        return {}
    for model in models:
        del model["files"]  # what they lack is not known when the model runs: it translates every text
    return {"sources": sources, "split_rows": recipe["plan"]["split_rows"]}  # all sources: they number the splits


def _planned(source: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the plan of a source: not its threshold, nor what only the card shows, nor where a model runs."""
    decides = _without(source, {*SELECTING, "license", "homepage"})
    if decides.get("translation"):
        decides["translation"] = _without(decides["translation"], {"device"})
    return decides


def _digest(parts: Sequence[Mapping[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _without(values: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in names}


def _unless_off(values: Mapping[str, Any], *later: str) -> dict[str, Any]:
    """Without values that came later and are off (null or false): a run that an older version made has the same digests."""
    return {key: value for key, value in values.items() if key not in later or value not in (None, False)}


def _override(content: dict[str, Any], override: str) -> None:
    place, found, text = override.partition("=")
    if not found or not place:
        raise RecipeError(f"--set {override}: expected key.path=value, such as --set sources.laion.min_score=0.3")
    *parents, last = place.split(".")
    for parent in parents:
        child = content.get(parent)
        if not isinstance(child, dict):
            child = content[parent] = {}
        content = child
    content[last] = yaml.safe_load(text)


def _explain(error: ValidationError, path: Path, text: str) -> str:
    root = yaml.compose(text)
    lines = [f"{path}: {error.error_count()} thing{'s' if error.error_count() > 1 else ''} to mend"]
    for problem in error.errors():
        place = _place_in_file(problem["loc"])
        line = line_of(root, place)
        where = f"{path}:{line}" if line else str(path)
        lines.append(f"  {where}  {'.'.join(map(str, place))}: {_problem(problem)}")
    return "\n".join(lines)


def _place_in_file(place: Sequence[Any]) -> Sequence[Any]:
    """Pydantic puts the kind of a source behind its name; the file does not."""
    return (*place[:2], *place[3:]) if place[:1] == ("sources",) else place


def _problem(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        known = _known_names(problem["loc"][:-1])
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}"
        return f"unknown name; {hint}"
    found = "" if problem["type"] == "missing" else f"; found {_short_found(problem['input'])}"
    return problem["msg"][0].lower() + problem["msg"][1:] + found


def _short_found(found: Any) -> str:
    text = repr(found)
    return text if len(text) <= 60 else text[:57] + "…"


def _known_names(place: Sequence[Any]) -> list[str]:
    model: Any = Recipe
    steps = list(place)
    if steps[:1] == ["sources"] and len(steps) > 2:
        model, steps = SOURCE_KINDS[str(steps[2])], steps[3:]
    while steps:
        annotation = model.model_fields[steps[0]].annotation
        steps = steps[2 if typing.get_origin(annotation) is dict else 1 :]  # the name in a mapping is the user's own
        model = _model_in(annotation)
    return list(model.model_fields)


def _model_in(annotation: Any) -> Any:
    """The Config class of `X` or `X | None`."""
    options = [annotation, *getattr(annotation, "__args__", ())]
    return next(option for option in options if isinstance(option, type) and issubclass(option, Config))


def line_of(node: yaml.Node | None, place: Sequence[Any]) -> int | None:
    """The line on which the deepest part of `place` that the file holds stands, from 1."""
    line = None
    for step in place:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, child) for key, child in node.value if key.value == str(step)), None)
            if pair is None:
                return line
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            return line
    return line
