"""What to curate, as validated YAML."""

from foundation.config import ConfigError
from foundation.config import dump as dump_recipe
from pipeline.recipe.model import Recipe, load_recipe

__all__ = ["ConfigError", "Recipe", "dump_recipe", "load_recipe"]
