"""Translations from files, by id.

from pipeline.sources.translation import load_translations

known = load_translations(["imageid.manually-translated-caption.txt"])  # {"COCO_val2014_000000391895#0": "…"}
"""

from pipeline.sources.translation.config import Translation
from pipeline.sources.translation.files import TranslationFileError, known_translations, load_translations
from pipeline.sources.translation.text import to_simplified

__all__ = ["Translation", "TranslationFileError", "known_translations", "load_translations", "to_simplified"]
