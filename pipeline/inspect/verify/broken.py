"""Runs whose recipe.yaml or run.json is damaged or gone: that is a problem, and the files are checked all the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from foundation.config import ConfigError, parse
from foundation.storage import Storage
from pipeline.inspect.verify.context import short
from pipeline.inspect.verify.manifests import load
from pipeline.inspect.verify.reading import RunFiles
from pipeline.inspect.verify.report import Report
from pipeline.recipe import Recipe
from pipeline.run.folder import Run, StageLayout
from pipeline.run.names import FORMAT_FILE, RECIPE_FILE
from pipeline.stages.opening import FORMAT, run_of, storage_of
from pipeline.stages.registry import STAGES


def opened(folder: str | Path, error: Exception) -> tuple[Run | None, list[str]]:
    """The run, if its recipe can be read, and what is wrong with what it begins with.

    Args:
        error: what opening it raised; raised again where the folder holds no run, or one of another format.
    """
    storage = storage_of(folder)
    begun = (FORMAT_FILE, *(f"{name}/" for name in _folders()))
    if not any(entry.name.startswith(begun) for entry in storage.list()):
        raise error
    problems = _format(storage, error)
    try:
        text = storage.read(RECIPE_FILE).decode("utf-8")
        return run_of(folder, parse(Recipe, text, f"{storage.address}/{RECIPE_FILE}")), problems
    except FileNotFoundError:
        problems.append(f"{RECIPE_FILE}: missing: no folder is a run without it; put it back from a copy")
    except (ConfigError, ValueError) as fault:
        text = str(fault) if isinstance(fault, ConfigError) else f"{RECIPE_FILE}: damaged: {short(fault)}"
        problems.append(f"{text}; put {RECIPE_FILE} back from a copy")
    return None, problems


def _folders() -> list[str]:
    return [stage.folder or stage.name for stage in STAGES.values()]


def _format(storage: Storage, error: Exception) -> list[str]:
    """What is wrong with run.json. A version that it does state, and that is another, is no damage."""
    expected = json.dumps({"format": FORMAT})
    try:
        content: Any = json.loads(storage.read(FORMAT_FILE).decode("utf-8"))
        version = content["format"]
    except FileNotFoundError:
        return [f"{FORMAT_FILE}: missing; expected {expected}"]
    except (ValueError, KeyError, TypeError) as fault:
        return [f"{FORMAT_FILE}: damaged ({short(fault)}); expected {expected}"]
    if version == FORMAT:
        return []
    if type(version) is int:
        raise error
    return [f"{FORMAT_FILE}: says format {version!r}; expected {expected}"]


def verify(folder: str | Path, console: Console) -> Report:  # noqa: ARG001  as fast as the disk
    """Manifests and hashes of files, without a recipe to say what they must hold."""
    stages = {
        name: StageLayout(name, stage.folder or name, "", stage.per_plan_shard, stage.published)
        for name, stage in STAGES.items()
    }
    recipe: Any = None
    run = Run(storage_of(folder), recipe, stages)
    files, report = RunFiles(run), Report()
    manifests = load(run, files, digests=False)
    report.problems += manifests.problems
    for manifest in (manifest for of in manifests.loaded.values() for manifest in of.values()):
        report.checked["shards"] += 1
        for name, described in manifest.files.items():
            report.checked["files"] += 1
            report.checked["bytes"] += described["bytes"]
            report.problems += _file(files, name, described)
    report.skipped.append("what the shards hold: that takes a recipe")
    return report


def _file(files: RunFiles, name: str, described: dict[str, Any]) -> list[str]:
    try:
        digest = hashlib.sha256()
        for piece in files.chunks(name):
            digest.update(piece)
    except OSError as error:
        return [f"{name}: cannot be read: {short(error)}"]
    sound = (files.size(name), digest.hexdigest()) == (described["bytes"], described["sha256"])
    return [] if sound else [f"{name}: damaged: its size or SHA-256 is not the manifest's"]
