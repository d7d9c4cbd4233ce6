"""The `images` part of a recipe: duplicates by image, and images of test sets that must not be trained on."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from foundation.config import Config, value

SetName = Annotated[str, StringConstraints(pattern=r"^[\w.-]+$")]


class ImageDuplicates(Config):
    """Pairs whose images are one picture; the best of them stays: by score, then original size, then smallest key."""

    distance: int | None = value(
        16,
        "hashes that differ in no more bits are one picture; null: only equal pixels. Above 16 the search gets slow: at 24 it "
        "suits some hundred thousand images",
        "bits of 192",
        ge=0,
        le=32,
    )
    colours: int = value(
        32, "largest difference of a quarter's mean colour: a red heart is not a blue one", "of 255", ge=0, le=255
    )
    min_cosine: float | None = value(
        None,
        "a near copy counts only if the cosine of the two images' embeddings is at least this (needs score.embeddings: "
        "true); null: hashes alone decide; -1: cosines are only noted",
        ge=-1,
        le=1,
    )
    several_captions: bool = value(
        False, "the best pair's url keeps all of its captions, as in COCO; false: one pair of a picture"
    )


class TestImages(Config):
    """Images of an evaluation set, as files. The id of an image is its row's or its file's name."""

    __test__ = False  # not a test, whatever pytest thinks of the name

    path: str = value(
        ..., "folder or zip of images, or folder with *_imgs.tsv (MUGE, Chinese-CLIP), or one such file; local"
    )
    splits: tuple[str, ...] = value(("test", "valid", "val"), "which *_imgs.tsv of a folder are read")
    only: tuple[str, ...] = value(
        (), "text files with one image name a line: of a folder or zip, no others are read (COCO-CN's coco-cn_test.txt)"
    )


class Images(Config):
    """What is decided by looking at images. It runs on hashes and embeddings, in the select stage: no image is read again."""

    duplicates: ImageDuplicates | None = value(None, "reject copies of a picture across all sources; null: keep them")
    test_sets: dict[SetName, TestImages] = value(
        {}, "name → images that no pair may show; the ledger counts each set by itself, as test_image_NAME"
    )
    test_distance: int = value(
        24, "a hash that differs in no more bits from a test image's is a copy of it", "bits of 192", ge=0, le=48
    )
    test_colours: int = value(
        32, "largest difference of a quarter's mean colour from a test image's", "of 255", ge=0, le=255
    )
    test_min_cosine: float | None = value(
        None,
        "a near copy of a test image counts only if the cosine of their embeddings is at least this, as they are or with "
        "the test image mirrored (needs score.embeddings: true); null: hashes alone decide; -1: cosines are only noted",
        ge=-1,
        le=1,
    )

    @property
    def confirmed_by(self) -> list[str]:
        """The values that ask for embeddings, by their place in `images`."""
        asking = {"duplicates.min_cosine": self.duplicates and self.duplicates.min_cosine}
        asking["test_min_cosine"] = self.test_min_cosine
        return [place for place, least in asking.items() if least is not None]
