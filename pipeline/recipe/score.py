"""The recipe section of the scorer. Free of torch, so that reading a recipe stays quick."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from foundation.config import value
from foundation.placement import Placement

# What each published Multilingual-CLIP text tower was distilled for (table in the multilingual-clip README).
PAIRED_TOWERS = {
    "XLM-Roberta-Large-Vit-B-32": "ViT-B-32:openai",  # 512 numbers
    "XLM-Roberta-Large-Vit-L-14": "ViT-L-14:openai",  # 768
    "LABSE-Vit-L-14": "ViT-L-14:openai",  # 768
    "XLM-Roberta-Large-Vit-B-16Plus": "ViT-B-16-plus-240:laion400m_e32",  # 640
}


class Score(Placement):
    """The two towers that score the pairs, and how they run. Scores of different towers cannot be compared."""

    text_model: str = value(
        "M-CLIP/XLM-Roberta-Large-Vit-B-32", "multilingual text tower: hub id, or local folder in the same layout"
    )
    text_revision: str | None = value(
        None,
        "commit, tag or branch of the text model on the hub; of a local folder, the expected digest of its weights",
    )
    image_model: str | None = value(
        None,
        "image tower: 'NAME:PRETRAINED' of open_clip (PRETRAINED a tag or a weights file), or a local folder with "
        "open_clip_config.json and weights; null for the tower that the text model was made for",
    )
    batch_size: int = value(64, "images, or captions, in one forward pass", "items", ge=1, le=65536)
    max_tokens: int = value(128, "longer captions are cut, start and end tokens included", "tokens", ge=4, le=512)
    mirror: bool = value(
        False,
        "also score the mirrored image and take the mean: text in the image, unreadable when mirrored, then counts less "
        "(arXiv 2309.15954)",
    )
    mask_text: Literal["blur", "mask"] | None = value(
        None, "how text in the image is hidden before scoring (arXiv 2307.03132); needs the extra zhclip[ocr]"
    )
    embeddings: bool = value(
        False,
        "also store the embedding of each image (length 1, float16), which the score is computed from: it can confirm copies "
        "(images.duplicates.min_cosine, images.test_min_cosine); it is not published",
    )
    mirror_embeddings: bool = value(
        False,
        "store the mirrored image's embedding as well, to confirm mirrored copies; unless `mirror` computes it anyway, the "
        "image tower runs twice",
    )
    nsfw: bool = value(False, "also store a probability that the image is pornographic; needs the extra zhclip[nsfw]")

    @model_validator(mode="after")
    def _has_an_image_tower(self) -> Self:
        if self.image_model is None and Path(self.text_model).name not in PAIRED_TOWERS:
            raise ValueError(
                f"image_model must be given for text_model {self.text_model!r}; it is only known for "
                f"{', '.join(PAIRED_TOWERS)}"
            )
        return self

    @model_validator(mode="after")
    def _stores_what_it_mirrors(self) -> Self:
        if self.mirror_embeddings and not self.embeddings:
            raise ValueError("mirror_embeddings needs embeddings: true; found false")
        return self

    @property
    def image_source(self) -> str:
        """`image_model`, or the tower that pairs with the text model."""
        return self.image_model or PAIRED_TOWERS[Path(self.text_model).name]
