"""The `images` part of a recipe: near-duplicate images, and images of evaluation sets, which must not be trained on."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from foundation.config import Config, value

SetName = Annotated[str, StringConstraints(pattern=r"^[\w.-]+$")]


class ImageDuplicates(Config):
    """Near-duplicate images: of each group one pair is kept, by score, then original size, then smallest key."""

    distance: int | None = value(
        16,
        "images whose hashes differ in no more bits are near-duplicates; null: only equal pixels are. Above 16 the search "
        "gets slow: 24 suits some hundred thousand images",
        "bits of 192",
        ge=0,
        le=32,
    )
    colours: int = value(
        32,
        "largest difference of a quarter's mean colour: a red heart is no copy of a blue one",
        "of 255",
        ge=0,
        le=255,
    )
    min_cosine: float | None = value(
        None,
        "near-duplicates count only if the cosine of the two images' embeddings is at least this (needs score.embeddings: "
        "true); null: hashes alone decide; -1: cosines are only recorded",
        ge=-1,
        le=1,
    )
    several_captions: bool = value(
        False, "the best pair's url keeps all of its captions, as in COCO; false: one pair of each group"
    )


class EvalImageSet(Config):
    """Images of an evaluation set, as files. An image's id is the name of its row or file."""

    path: str = value(
        ..., "folder or zip of images, or folder with *_imgs.tsv (MUGE, Chinese-CLIP), or one such file; local"
    )
    splits: tuple[str, ...] = value(("test", "valid", "val"), "which *_imgs.tsv of a folder are read")
    only: tuple[str, ...] = value(
        (),
        "text files with one image name a line: only these images of a folder or zip are read (COCO-CN's coco-cn_test.txt)",
    )


class Images(Config):
    """What is decided by comparing images: by hashes and embeddings, in the select stage. No image is read again."""

    duplicates: ImageDuplicates | None = value(
        None, "reject near-duplicate images, across all sources; null: keep them"
    )
    test_sets: dict[SetName, EvalImageSet] = value(
        {}, "name → evaluation images that no pair may show; the ledger counts each set by itself, as test_image_NAME"
    )
    test_distance: int = value(
        24,
        "an image whose hash differs in no more bits from an evaluation image's is a copy of it",
        "bits of 192",
        ge=0,
        le=48,
    )
    test_colours: int = value(
        32, "largest difference of a quarter's mean colour from an evaluation image's", "of 255", ge=0, le=255
    )
    test_min_cosine: float | None = value(
        None,
        "a copy of an evaluation image counts only if the cosine of their embeddings is at least this, as they are or with "
        "the evaluation image mirrored (needs score.embeddings: true); null: hashes alone decide; -1: cosines are only "
        "recorded",
        ge=-1,
        le=1,
    )

    @property
    def confirmed_by(self) -> list[str]:
        """Paths, within `images`, of the values that need embeddings."""
        minimums = {"duplicates.min_cosine": self.duplicates and self.duplicates.min_cosine}
        minimums["test_min_cosine"] = self.test_min_cosine
        return [path for path, minimum in minimums.items() if minimum is not None]
