"""Recipes: what to curate, as validated YAML in which every value has a default, a unit and a description."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import model_validator

from filters.duplicates import Duplicates
from foundation.config import Config, load, value
from pipeline.recipe.builtin import no_such_recipe, recipe_path
from pipeline.recipe.download import Download
from pipeline.recipe.images import Images
from pipeline.recipe.score import Score
from pipeline.sources.registry import AnySource

SPEED_ONLY = {"download": {"threads", "shard_deadline"}, "score": {"device"}}  # may change in the middle of a run
STAGES = ("translate", "plan", "download", "score", "select", "publish")  # the first only where a source has a model
SELECTING = (
    "min_score",
    "max_nsfw",
    "max_pairs",
    "cap_keeps",
)  # of a source: decided on scores, after everything costly


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
    """Read the recipe in a YAML file, or `builtin:NAME`, with `key.path=value` overrides (values in YAML) laid over it.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds a value that is not allowed.
    """
    return load(Recipe, recipe_path(path), overrides, missing=no_such_recipe(path))


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
