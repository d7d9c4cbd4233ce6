"""Recipes: what to curate, as validated YAML in which every value has a default, a unit and a description."""

from __future__ import annotations

from collections.abc import Sequence
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
    attempts: int = value(
        3,
        "download processes of a shard that may die in a row without one answer more; what is left then has the reason "
        "downloader_died, or the shard fails where the machine is at fault (no space, a missing package)",
        "tries",
        ge=1,
    )


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


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read the recipe in a YAML file, or `builtin:NAME`, with `key.path=value` overrides (values in YAML) laid over it.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds a value that is not allowed.
    """
    return load(Recipe, recipe_path(path), overrides, missing=no_such_recipe(path))
