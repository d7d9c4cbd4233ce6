"""Translate: English captions into Chinese with a MarianMT model.

Importing this package costs nothing: torch and transformers are imported when a translator is loaded.

    from pipeline.sources.translation import Translation
    from pipeline.stages.translate import load_translator

    translator = load_translator(Translation(model="Helsinki-NLP/opus-mt-en-zh"))
    translator.translate(["A white cat sits by the window."])  # one text each, in order
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from pipeline.sources.translation.config import Translation

if TYPE_CHECKING:
    from pipeline.stages.translate.marian import Translator

__all__ = ["load_translator"]

_loading = threading.Lock()


@lru_cache(maxsize=1)
def _cached(config: Translation) -> Translator:
    from pipeline.stages.translate.marian import Translator

    return Translator.load(config)


def load_translator(config: Translation) -> Translator:
    """The translator of `config`, loaded once per process; safe to call from several threads.

    Raises FileNotFoundError where the model or one of its files is missing, and ValueError where it is no MarianMT model
    or does not fit the configuration; the message says what to do.
    """
    with _loading:  # without it, two threads would load the same weights twice
        return _cached(config)
