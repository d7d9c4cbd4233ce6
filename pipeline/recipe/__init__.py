"""What to curate, as validated YAML."""

from pipeline.recipe.model import Recipe, RecipeError, dump_recipe, load_recipe

__all__ = ["Recipe", "RecipeError", "dump_recipe", "load_recipe"]
