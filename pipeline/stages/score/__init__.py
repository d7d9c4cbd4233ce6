"""Image-text scores with Multilingual-CLIP: how well a caption describes its image, as the cosine of two embeddings.

Importing this package costs nothing: torch, transformers and open_clip are imported when a scorer is loaded.

    from pipeline.stages.score import Score, load_scorer

    scorer = load_scorer(Score())
    table = scorer.score([jpeg_bytes], ["一只白猫坐在窗边"])  # columns score, image_hash, …, error
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from pipeline.recipe.score import Score

if TYPE_CHECKING:
    from pipeline.stages.score.scorer import Scorer

__all__ = ["Score", "load_scorer"]

_loading = threading.Lock()


@lru_cache(maxsize=2)  # a process uses one model, two while it compares them; each may take gigabytes
def _cached(config: Score) -> Scorer:
    from pipeline.stages.score.scorer import Scorer

    return Scorer.load(config)


def load_scorer(config: Score) -> Scorer:
    """The scorer of `config`, loaded once per process; safe to call from several threads.

    Raises ModelNotFound where a model or one of its files is missing, ModuleNotFoundError where the package of an
    option (`mask_text`, `nsfw`) is, naming the extra that brings it, and ModelError where the two towers do not
    fit each other or the configuration; the message says what to do.
    """
    with _loading:  # without it, two threads would load the same gigabytes twice
        return _cached(config)
