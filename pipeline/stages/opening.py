"""Starts, continues and reads runs."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

from foundation.config import differences, parse
from pipeline.recipe import Recipe, dump_recipe
from pipeline.run.files import write_atomically
from pipeline.run.folder import Run, RunError, StageLayout, only_driver
from pipeline.run.names import DATASET, FORMAT_FILE, LAYOUT_FILE, LOCKS, RECIPE_FILE
from pipeline.stages.registry import STAGES, digest

FORMAT = 2
"""Version of the run folder. 1 (before 2026-11-25) had the folders raw, scores, judge, compare and test_images."""


def open_run(folder: str | Path, recipe: Recipe) -> tuple[Run, list[str]]:
    """Start a run, or continue one; later stages whose rules changed are emptied so that they run again.

    Returns:
        the run, and lines that say what changed in the recipe (empty for a new or an unchanged run).

    Raises:
        RunError: the recipe differs from the run's in what was planned, downloaded or scored, or at all while another
            process works on the run; the folder holds something else, or a run of another format.
    """
    run = run_of(folder, recipe)
    path = run.folder / RECIPE_FILE
    if not path.exists():
        _start(run)
        return run, []
    old = read_run(folder).recipe
    changed = [name for name, stage in STAGES.items() if stage.inputs(old) != stage.inputs(recipe)]
    lines = list(differences(old.canonical(), recipe.canonical()))
    if sorted(old.sources) == sorted(recipe.sources) and list(old.sources) != list(recipe.sources):
        lines.append(f"order of sources: {', '.join(old.sources)} → {', '.join(recipe.sources)}")
    if changed and _holds_costly_work(run, changed[0]):
        listed = "\n".join(f"  {line}" for line in lines)
        raise RunError(
            f"{run.folder} was started with another recipe, and the difference reaches its {changed[0]} stage:\n{listed}\n"
            "Use the recipe it was started with, or start a new run with --run NEW_FOLDER."
        )
    with only_driver(run) if lines else nullcontext():
        if "read" in changed and not run.done("translate"):  # nothing was read yet: the metadata may be divided anew
            (run.folder / LAYOUT_FILE).unlink(missing_ok=True)
        if lines:
            write_atomically(path, _recipe_file(recipe))
        for name, stage in STAGES.items():
            if stage.cheap:
                run.discard(name, keep_digest=run.digest(name))
    return run, lines


def read_run(folder: str | Path) -> Run:
    """An existing run, with its own recipe.

    Raises:
        RunError: there is no run in this folder, or one of another format.
        ConfigError: its recipe was damaged.
    """
    path = Path(folder).absolute()
    try:
        text = (path / RECIPE_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunError(
            f"{path} is not a run folder: it has no {RECIPE_FILE}; `zhclip curate RECIPE --run {path}` starts one"
        ) from None
    _check_format(path)
    return run_of(path, parse(Recipe, text, str(path / RECIPE_FILE)))


def run_of(folder: str | Path, recipe: Recipe) -> Run:
    """The run of a recipe in a folder, without a look at the folder."""
    stages = {
        name: StageLayout(name, stage.folder or name, digest(recipe, name), stage.per_plan_shard)
        for name, stage in STAGES.items()
    }
    return Run(Path(folder).absolute(), recipe, stages)


def _start(run: Run) -> None:
    """Leaves a folder that `read_run` takes; killed at any moment before, it leaves one that this function takes."""
    ours = {FORMAT_FILE, LOCKS}
    if run.folder.exists() and any(
        path.name not in ours and not path.name.startswith(f".{FORMAT_FILE}.") for path in run.folder.iterdir()
    ):
        raise RunError(f"{run.folder} is not empty and not a run folder (it has no {RECIPE_FILE}); name another folder")
    (run.folder / LOCKS).mkdir(parents=True, exist_ok=True)
    write_atomically(run.folder / FORMAT_FILE, json.dumps({"format": FORMAT}) + "\n")
    write_atomically(run.folder / RECIPE_FILE, _recipe_file(run.recipe))


def _check_format(folder: Path) -> None:
    try:
        text = (folder / FORMAT_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        text = None
    except ValueError as error:
        text = str(error)  # no JSON either
    check_format(str(folder), text)


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
    return any(run.done(name) for name in after if not STAGES[name].cheap)


def _recipe_file(recipe: Recipe) -> str:
    digests = "".join(f"#   {name}: {digest(recipe, name)}\n" for name, stage in STAGES.items() if stage.inputs(recipe))
    return f"# The recipe as this run uses it, every default written out. Digests per stage:\n{digests}{dump_recipe(recipe)}"
