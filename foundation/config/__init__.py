"""Configuration: closed, immutable models whose values describe themselves, and the one way to read them from YAML."""

from foundation.config.compare import differences
from foundation.config.describe import annotated
from foundation.config.load import dump, load, location, parse
from foundation.config.model import Config, ConfigError, value

__all__ = ["Config", "ConfigError", "annotated", "differences", "dump", "load", "location", "parse", "value"]
