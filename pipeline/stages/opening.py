"""Starts, continues and reads runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from foundation.config import differences, parse
from foundation.log import logger
from foundation.storage import WRITING, Storage, open_storage
from pipeline.recipe import Recipe, dump_recipe
from pipeline.run.folder import Run, StageLayout
from pipeline.run.lease import drive
from pipeline.run.manifest import RunError
from pipeline.run.names import DATASET, DRIVER, FORMAT_FILE, LAYOUT_FILE, RECIPE_FILE
from pipeline.stages.registry import STAGES, digest

FORMAT = 3
"""Version of the run. 1 (before 2026-11-25) had the folders raw, scores, judge, compare and test_images; 2 (before 2026-11-30) had
plain names for all files, and manifests of published shards in dataset/."""


def open_run(folder: str | Path, recipe: Recipe) -> tuple[Run, list[str]]:
    """Start a run, or continue one; later stages whose rules changed are emptied so that they run again.

    Returns:
        the run, and lines that say what changed in the recipe (empty for a new or an unchanged run).

    Raises:
        RunError: the recipe differs from the run's in what was planned, downloaded or scored, or at all while another
            process works on the run; the folder holds something else, or a run of another format.
    """
    run = run_of(folder, recipe)
    if _text(run.storage, RECIPE_FILE) is None:
        _refuse_other_content(run.storage)
        if _start(run):
            return run, []
    old = read_run(folder).recipe
    changed = [name for name, stage in STAGES.items() if stage.inputs(old) != stage.inputs(recipe)]
    lines = list(differences(old.canonical(), recipe.canonical()))
    if sorted(old.sources) == sorted(recipe.sources) and list(old.sources) != list(recipe.sources):
        lines.append(f"order of sources: {', '.join(old.sources)} → {', '.join(recipe.sources)}")
    if changed and _holds_costly_work(run, changed[0]):
        listed = "\n".join(f"  {line}" for line in lines)
        raise RunError(
            f"{run.address} was started with another recipe, and the difference reaches its {changed[0]} stage:\n{listed}\n"
            "Use the recipe it was started with, or start a new run with --run NEW_FOLDER."
        )
    if lines:
        with drive(run.storage) as lease:
            if lease.before is not None:
                logger("driver").warning("took over %s from %s, which ended without a word", run.address, lease.before)
            if not _has_recipe(run, recipe):  # else another process has just changed it to the same
                _check_unchanged(run, old)
                _change(replace(run, epoch=lease.epoch), changed)
    return run, lines


def read_run(folder: str | Path, overrides: Sequence[str] = ()) -> Run:
    """An existing run, with its own recipe.

    Args:
        folder: its folder, or its address on an object store.
        overrides: `key.path=value`, laid over the recipe.

    Raises:
        RunError: there is no run in this folder, or one of another format.
        ConfigError: its recipe was damaged.
    """
    storage = storage_of(folder)
    text = _text(storage, RECIPE_FILE)
    if text is None:
        raise RunError(
            f"{storage.address} is not a run folder: it has no {RECIPE_FILE}; `zhclip curate RECIPE {storage.address}` starts one"
        )
    check_format(storage.address, _text(storage, FORMAT_FILE))
    return _run(storage, parse(Recipe, text, f"{storage.address}/{RECIPE_FILE}", overrides))


def run_of(folder: str | Path, recipe: Recipe) -> Run:
    """The run of a recipe in a folder or at an address, without a look at what is there."""
    return _run(storage_of(folder), recipe)


def check_recipe(run: Run) -> None:
    """Look whether the run still has the recipe that it was opened with; for its driver, before any work.

    Raises:
        RunError: another process changed it in between.
    """
    _check_unchanged(run, run.recipe)


def storage_of(folder: str | Path) -> Storage:
    """Where a run lies. Workers of one machine may have other working directories: a folder is named by its whole path."""
    return open_storage(folder if "://" in str(folder) else Path(folder).absolute())


def _run(storage: Storage, recipe: Recipe) -> Run:
    stages = {
        name: StageLayout(name, stage.folder or name, digest(recipe, name), stage.per_plan_shard, stage.published)
        for name, stage in STAGES.items()
    }
    return Run(storage, recipe, stages)


def _refuse_other_content(storage: Storage) -> None:
    """What a start that was killed has left is no other content."""
    for entry in storage.list():
        if not entry.name.startswith((f"{DRIVER}/", WRITING)) and entry.name != FORMAT_FILE:
            if _text(storage, RECIPE_FILE) is not None:  # by now, as another process has just started it
                return
            raise RunError(
                f"{storage.address} is not empty and not a run (it has no {RECIPE_FILE}, but {entry.name}); name another folder"
            )


def _start(run: Run) -> bool:
    """Leaves a run that `read_run` takes; killed at any moment before, it leaves one that is started anew. False where another
    process was first."""
    with drive(run.storage):
        if _text(run.storage, RECIPE_FILE) is not None:
            return False
        run.storage.put(FORMAT_FILE, (json.dumps({"format": FORMAT}) + "\n").encode())
        run.storage.put(RECIPE_FILE, _recipe_file(run.recipe).encode())
    return True


def _change(run: Run, changed: list[str]) -> None:
    """The run gets its new recipe; what cheap stages made for the former one goes first: killed in between, they make it again."""
    for name, stage in STAGES.items():
        if stage.cheap:
            run.discard(name, keep_digest=run.digest(name))
    if "read" in changed and not run.manifest_entries("translate"):
        run.storage.remove(LAYOUT_FILE)  # nothing was read yet: the metadata may be divided anew
    run.storage.put(RECIPE_FILE, _recipe_file(run.recipe).encode())


def _has_recipe(run: Run, recipe: Recipe) -> bool:
    return _recipe_file(read_run(run.address).recipe) == _recipe_file(recipe)


def _check_unchanged(run: Run, recipe: Recipe) -> None:
    if not _has_recipe(run, recipe):
        raise RunError(f"another process has just changed the recipe of {run.address}; look at it, then start again")


def _text(storage: Storage, name: str) -> str | None:
    """The text of a small file; None where there is none. What is no UTF-8 stays visible, for whoever explains the fault."""
    try:
        return storage.read(name).decode(errors="replace")
    except FileNotFoundError:
        return None


def check_format(run: str, text: str | None) -> None:
    """Refuse a run of another format.

    Args:
        run: its folder or address.
        text: of its FORMAT_FILE; None where it has none.

    Raises:
        RunError: it is of another format, or the file is damaged.
    """
    try:
        version = 1 if text is None else json.loads(text)["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f'{run}/{FORMAT_FILE}: expected {{"format": {FORMAT}}}; found something else ({error})'
        ) from error
    if version != FORMAT:
        raise RunError(
            f"{run} is a run of format {version}; this zhclip works with format {FORMAT}. Use the version that made it "
            f"(`versions` in its manifests), or start a new run; its {DATASET}/ folder stands alone and stays usable"
        )


def _holds_costly_work(run: Run, changed: str) -> bool:
    """Whether a run has shards of the changed stage, or of a later one, that took long to make."""
    names = list(STAGES)
    after = names[names.index(changed) :]
    return any(run.manifest_entries(name) for name in after if not STAGES[name].cheap)


def _recipe_file(recipe: Recipe) -> str:
    digests = "".join(f"#   {name}: {digest(recipe, name)}\n" for name, stage in STAGES.items() if stage.inputs(recipe))
    return f"# The recipe as this run uses it, every default written out. Digests per stage:\n{digests}{dump_recipe(recipe)}"
