"""The commands that inspect recipes: `recipe list`, `recipe show` and `recipe files`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from zhclip.console import print_json

app = typer.Typer(no_args_is_help=True, help="Inspect recipes.")
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="The recipe: a YAML file, or builtin:NAME.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a recipe value: key.path=value (repeatable).")
]


@app.command("list")
def list_command(as_json: Json = False) -> None:
    """List the recipes included with zhclip."""
    from pipeline.recipe.builtin import PREFIX, builtin_names, summary

    summaries = {f"{PREFIX}{name}": summary(name) for name in builtin_names()}
    if as_json:
        print_json(summaries)
        return
    table = Table("recipe", "what it is")
    for name, text in summaries.items():
        table.add_row(name, text)
    Console().print(table, markup=False)


@app.command("show")
def show_command(recipe: RecipeName, overrides: Overrides = None) -> None:
    """Check a recipe and print it with every default, unit and description."""
    from foundation.config import annotated
    from pipeline import load_recipe

    print(annotated(load_recipe(recipe, overrides or ())), end="")


@app.command("files")
def files_command(recipe: RecipeName, overrides: Overrides = None, as_json: Json = False) -> None:
    """List the metadata files that a recipe's paths and globs match now, source by source."""
    from pipeline import load_recipe
    from pipeline.sources.files import find_files

    sources = load_recipe(recipe, overrides or ()).sources
    files_of = {name: find_files(source.files) for name, source in sources.items()}
    if as_json:
        print_json(files_of)
    else:
        print("\n".join(f"{name}\t{file}" for name, files in files_of.items() for file in files))
