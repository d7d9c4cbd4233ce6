"""How a plan is divided: fixed once, when a run starts, so that a resumed run sees the same files and splits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from foundation.lazy import polars as pl
from pipeline.recipe import Recipe
from pipeline.run.folder import Run
from pipeline.run.manifest import RunError
from pipeline.run.names import LAYOUT_FILE
from pipeline.sources.base import Source
from pipeline.sources.files import find_files, open_file
from pipeline.sources.splits import Split
from pipeline.stages.base import without

MAX_BUCKETS = 4096
SELECTING = ("min_score", "max_nsfw", "max_pairs", "cap_keeps")
"""Values of a source that are decided on scores, after everything costly."""


@dataclass(frozen=True)
class Layout:
    """The splits of all sources, and the number of buckets (of caption hashes, and of keys)."""

    splits: tuple[Split, ...]
    buckets: int
    hasher: str  # version of the library whose hash assigns buckets: one run must not mix two
    lists: dict[str, str]  # SHA-256 of every further list that the recipe names (words, links, ids, translations)


def make_layout(run: Run) -> Layout:
    """The run's layout, listed now if the run has none yet.

    Raises:
        NoSuchFiles: a source names files that do not exist.
        RunError: the run was begun with another version of the hashing library, or with a list that has changed since; a
            source's images, image data or test sets cannot be used.
    """
    if not run.holds(LAYOUT_FILE):
        run.storage.put(LAYOUT_FILE, json.dumps(asdict(_list(run)), indent=1, ensure_ascii=False).encode())
    layout = read_layout(run)
    if layout.hasher != _hasher():
        raise RunError(
            f"{run.address} was planned with {layout.hasher}, this is {_hasher()}: install that version to continue it"
        )
    changed = sorted(path for path, digest in _lists(run).items() if layout.lists.get(path) != digest)
    if changed:
        raise RunError(
            f"{run.address} was planned with other content of {', '.join(changed)}: start a new run with --run"
        )
    return layout


def read_layout(run: Run) -> Layout:
    """The layout that `make_layout` wrote.

    Raises:
        RunError: it is not there, or damaged.
    """
    try:
        return _parse(run.address, run.storage.read(LAYOUT_FILE))
    except FileNotFoundError:
        raise RunError(
            f"{run.address} has no plan yet: run `zhclip plan` (or `zhclip curate`, which runs all stages) first"
        ) from None


@lru_cache(maxsize=4)
def _parse(address: str, text: bytes) -> Layout:
    try:
        content = json.loads(text)
        splits = tuple(Split.from_json(split) for split in content["splits"])
        return Layout(splits, content["buckets"], content["hasher"], content["lists"])
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(
            f"{address}/{LAYOUT_FILE}: damaged ({type(error).__name__}: {error}); put it back from a copy, or start a new run "
            "with --run"
        ) from None


def _hasher() -> str:
    return f"polars {pl.__version__}"


def _list(run: Run) -> Layout:
    splits: list[Split] = []
    for name, source in run.recipe.sources.items():
        _check(name, source)
        splits += source.splits(name, run.recipe.plan.split_rows)
    return Layout(tuple(splits), wanted_buckets(splits, run.recipe), _hasher(), _lists(run))


def wanted_buckets(splits: Iterable[Split], recipe: Recipe) -> int:
    """How many buckets keep each at about plan.bucket_rows."""
    rows = sum(split.guessed_rows for split in splits)
    return min(MAX_BUCKETS, max(1, -(-rows // recipe.plan.bucket_rows)))


def _check(name: str, source: Source) -> None:
    """Looks once at what every split of a source will need, so that a mistake is told before hours of work."""
    for field, check in source.checks(name).items():
        try:
            check()
        except (OSError, ValueError) as error:
            raise RunError(f"sources.{name}.{field}: {error}") from error


def _lists(run: Run) -> dict[str, str]:
    patterns: set[str] = set().union(*(source.lists() for source in run.recipe.sources.values()))
    return {path: _sha256(path) for path in find_files(sorted(patterns))}


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open_file(path) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def read_inputs(source: Mapping[str, Any]) -> dict[str, Any]:
    """What of a source, as plain JSON types, decides how it is read: not its limits on scores, nor what only the data card
    shows, nor where a model runs."""
    values = without(source, {*SELECTING, "license", "homepage"})
    if values.get("translation"):
        values["translation"] = without(values["translation"], {"device"})
    return values
