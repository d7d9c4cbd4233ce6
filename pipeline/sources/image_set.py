"""Data sets of images with texts about each: sources that know their images by id, and may have them on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

import pyarrow as pa
from pydantic import Field, field_validator

from filters.base import Filter
from filters.local_url import LocalUrl
from foundation.config import value
from pipeline.sources.base import Source, min_score
from pipeline.sources.local_images import check_image_folders
from pipeline.sources.rules.eval_ids import EvalIdList, EvalIds, load_eval_ids
from pipeline.sources.translation import Translation

ListName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
COLUMNS = ("url", "caption", "width", "height", "image_id", "coco_id", "flickr_id")


class ImageSetSource(Source):
    """What sources with images of their own have: where the images lie, translations, and lists of evaluation images.

    Their raw rows have the columns of a pair, and English as a list column `texts`, with `text_ids` and `text_names`.
    """

    min_score: float | None = min_score(None)
    images: tuple[str, ...] = value(
        (),
        "local folders or zip files that hold the images (`rules.url` then has no say); empty: they are fetched by url",
    )
    translation: Translation | None = value(None, "where the Chinese comes from; null: the caption stays as it is")
    test_sets: dict[ListName, EvalIdList] = value(
        {}, "name → images that must not be used; the ledger counts each list by itself, as test_set_NAME"
    )

    @field_validator("images", mode="before")
    @classmethod
    def _path_or_paths(cls, images: Any) -> Any:
        return (images,) if isinstance(images, str) else images

    def column_names(self) -> Mapping[str, str]:
        """Every column under its own name."""
        return {name: name for name in COLUMNS}

    def required_columns(self) -> tuple[str, ...]:
        """The url: captions may come of `texts`."""
        return ("url",)

    @property
    def translated_by(self) -> Translation | None:
        """`translation`."""
        return self.translation

    def english(self, raw: pa.Table) -> pa.ListArray | None:
        """The column `texts`; None where the captions are Chinese already."""
        return raw["texts"].combine_chunks() if "texts" in raw.column_names else None

    def text_ids(self, raw: pa.Table) -> list[pa.ListArray]:
        """The columns `text_ids` and `text_names`, those that there are."""
        return [raw[name].combine_chunks() for name in ("text_ids", "text_names") if name in raw.column_names]

    def metadata_rules(self) -> tuple[Filter, ...]:
        """As the recipe has them; of images on this machine, the urls were made here, and have a rule of their own."""
        rules = super().metadata_rules()
        return (*(rule for rule in rules if rule is not self.rules.url), LocalUrl()) if self.images else rules

    def row_rules(self) -> tuple[Filter, ...]:
        """With one rule for each list of evaluation images."""
        eval_ids = (EvalIds(name=name, id_list=id_list) for name, id_list in self.test_sets.items())
        return (*super().row_rules(), *eval_ids)

    @property
    def image_folders(self) -> tuple[str, ...]:
        """`images`."""
        return self.images

    def lists(self) -> set[str]:
        """With those of evaluation images."""
        return super().lists().union(*(id_list.files for id_list in self.test_sets.values()))

    def checks(self, name: str) -> dict[str, Callable[[], object]]:
        """Images and lists of evaluation images, too."""
        eval_ids = {f"test_sets.{key}": partial(load_eval_ids, id_list) for key, id_list in self.test_sets.items()}
        return {"images": lambda: check_image_folders(self.images), **eval_ids, **super().checks(name)}
