"""English captions into Chinese: translations from files by id, a MarianMT model, and what is wrong with a translation.

Importing this package costs nothing: torch and transformers are imported when a translator is loaded.

    from filters.translation import Translation, load_translations, load_translator

    known = load_translations(["imageid.manually-translated-caption.txt"])  # {"COCO_val2014_000000391895#0": "…"}
    translator = load_translator(Translation(model="Helsinki-NLP/opus-mt-en-zh"))
    translator.translate(["A white cat sits by the window."])  # one text each, in order
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from filters.translation.config import Translation
from filters.translation.files import TranslationFileError, load_translations
from filters.translation.text import to_simplified

if TYPE_CHECKING:
    from filters.translation.marian import Translator

__all__ = ["Translation", "TranslationFileError", "load_translations", "load_translator", "to_simplified"]

_loading = threading.Lock()


@lru_cache(maxsize=1)
def _cached(config: Translation) -> Translator:
    from filters.translation.marian import Translator

    return Translator.load(config)


def load_translator(config: Translation) -> Translator:
    """The translator of `config`, loaded once per process; safe to call from several threads.

    Raises FileNotFoundError where the model or one of its files is missing, and ValueError where it is no MarianMT model
    or does not fit the configuration; the message says what to do.
    """
    with _loading:  # without it, two threads would load the same weights twice
        return _cached(config)
