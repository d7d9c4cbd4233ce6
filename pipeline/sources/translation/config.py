"""The recipe section of a translation. Free of torch, so that reading a recipe stays quick."""

from __future__ import annotations

from foundation.config import value
from foundation.placement import Placement


class Translation(Placement):
    """Where the Chinese of an English caption comes from: files of translations, a MarianMT model, or both."""

    files: tuple[str, ...] = value(
        (), "files of translations by id: paths or globs, local or any fsspec url; they win over the model"
    )
    model: str | None = value(
        None,
        "MarianMT model such as Helsinki-NLP/opus-mt-en-zh: hub id, or local folder in the same layout; null: files alone",
    )
    revision: str | None = value(
        None, "commit, tag or branch of the model on the hub; of a local folder, the expected digest of its weights"
    )
    language_token: str | None = value(
        None,
        "put before each text of a model with several target languages, such as '>>cmn_Hans<<' (opus-mt-en-zh's card asks "
        "for one); '': none; null: '>>cmn_Hans<<' where the model's vocabulary has it",
    )
    batch_tokens: int = value(1024, "of one batch, padding included; texts of like length share one", "tokens", ge=16)
    max_tokens: int = value(128, "longer texts are cut, and longer translations end there", "tokens", ge=4, le=512)
    beams: int = value(4, "translations weighed against one another; 1: the likeliest token each time", ge=1, le=32)
    simplified: bool = value(True, "traditional characters become simplified (zhconv's table)")
