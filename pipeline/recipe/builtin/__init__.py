"""The recipes that come with zhclip, as `builtin:NAME`."""

from __future__ import annotations

from pathlib import Path

PREFIX = "builtin:"
FOLDER = Path(__file__).parent


def builtin_names() -> list[str]:
    """Names of the recipes that come with zhclip, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def recipe_path(recipe: str | Path) -> Path:
    """The file of a recipe that is named by its path or as `builtin:NAME`; it need not exist."""
    text = str(recipe)
    return FOLDER / f"{text.removeprefix(PREFIX)}.yaml" if text.startswith(PREFIX) else Path(recipe)


def no_such_recipe(recipe: str | Path) -> str:
    """What to say where the file of a recipe does not exist."""
    names = builtin_names()
    stem = Path(str(recipe).removeprefix(PREFIX)).stem
    hint = f"did you mean {PREFIX}{stem}?" if stem in names else f"{PREFIX}NAME names one that comes with zhclip:"
    listed = "" if stem in names else " " + ", ".join(names)
    return f"{recipe}: there is no such recipe; {hint}{listed}"


def summary(name: str) -> str:
    """What a recipe says of itself: the first sentence of the comment that it begins with."""
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    return " ".join(comment).split(". ")[0].rstrip(".")
