"""The `sources` part of a recipe: one model for each kind of metadata that is read."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from filters.caption import CaptionLength
from filters.rules import Rules
from foundation.config import Config, value
from foundation.pairs import PAIR_SCHEMA
from pipeline.sources.held_out import HeldOut
from pipeline.sources.translation.config import Translation

MAX_JOINED = 300
"""Default bound of a joined caption. Chinese-CLIP reads 52 tokens of a caption (paper, section 3.1), about 50 characters; the
rest serves longer text towers."""

PAIR_COLUMNS = tuple(name for name in PAIR_SCHEMA.names if name not in ("source", "file", "row"))
"""What a table's `columns` may map."""

ListName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class SourceBase(Config):
    """What every source has, whatever its format."""

    kind: str
    files: tuple[str, ...] = value(..., "metadata files: paths or globs, local or any fsspec url (https, s3, gs, hf)")
    rules: Rules = value(Rules(), "which pairs of this source are kept; null switches a rule off")
    min_score: float | None = value(
        0.26, "pairs scored lower are dropped; null keeps all (paper, section 2.2)", "cosine similarity", ge=-1, le=1
    )
    max_nsfw: float | None = value(
        None, "pairs with a higher nsfw_score are dropped; needs score.nsfw; null keeps all", "probability", ge=0, le=1
    )
    max_pairs: int | None = value(None, "at most so many pairs of this source are published; null: all", "pairs", ge=0)
    cap_keeps: Literal["any", "best"] = value(
        "any", "which pairs stay under max_pairs; any: a uniform choice (the first by key); best: the highest scores"
    )
    removal_lists: tuple[str, ...] = value(
        (), "files of links that must not be used: one url a line, or Parquet/CSV with a url column"
    )
    license: str = value("unknown", "licence of the metadata, for the data card")
    homepage: str = value("", "where the source is described, for the data card")


class LaionSource(SourceBase):
    """LAION-5B's multilingual part: laion2B-multi raw, joined, or Re-LAION (Parquet)."""

    kind: Literal["laion"]
    languages: tuple[str, ...] = value(("zh",), "LANGUAGE values that are in scope; other rows are only counted")
    swapped_size: bool | None = value(
        None, "WIDTH holds the height and the other way round; null: yes for raw files, which lack `punsafe`"
    )


class WukongSource(SourceBase):
    """Wukong's wukong_100m_{0..255}.csv with the columns url and caption."""

    kind: Literal["wukong"]


class TableSource(SourceBase):
    """Any Parquet, CSV or JSONL file with a column mapping (DanQing, Zero, TaiSu, your own crawl)."""

    kind: Literal["table"]
    format: Literal["parquet", "csv", "jsonl"] | None = value(None, "null: by the file name")
    columns: dict[str, str] = value(
        {"url": "url", "caption": "caption"},
        "pair column → column of the file; `url` is needed, and `caption` (or `english` where there is a translation)",
    )
    translation: Translation | None = value(
        None, "where the Chinese of the column `english` comes from; files are looked up by `image_id`"
    )

    @field_validator("columns")
    @classmethod
    def _pair_columns(cls, columns: dict[str, str]) -> dict[str, str]:
        for name in columns:
            if name not in PAIR_COLUMNS:
                near = difflib.get_close_matches(name, PAIR_COLUMNS, n=1)
                hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(PAIR_COLUMNS)}"
                raise ValueError(f"a pair has no column `{name}`; {hint}")
        return columns

    @model_validator(mode="after")
    def _has_english(self) -> TableSource:
        if self.translation and "english" not in self.columns:
            raise ValueError("a translation needs the column `english` in `columns`")
        return self


class ImageSetSource(SourceBase):
    """What sources with images of their own have: where the images lie, translations, and lists of test images."""

    min_score: float | None = value(
        None,
        "pairs scored lower are dropped; null keeps all (paper, section 2.2: 0.26 is for LAION)",
        "cosine similarity",
        ge=-1,
        le=1,
    )
    images: tuple[str, ...] = value(
        (),
        "local folders or zip files that hold the images (`rules.url` then has no say); empty: they are fetched by url",
    )
    translation: Translation | None = value(None, "where the Chinese comes from; null: the caption stays as it is")
    test_sets: dict[ListName, HeldOut] = value(
        {}, "name → images that must not be used; the ledger counts each list by itself, as test_set_NAME"
    )

    @field_validator("images", mode="before")
    @classmethod
    def _one_is_enough(cls, found: Any) -> Any:
        return (found,) if isinstance(found, str) else found


class CocoSource(ImageSetSource):
    """MSCOCO captions (captions_train2014.json and its like), or COCO-CN's Chinese captions of the same images."""

    kind: Literal["coco"]
    captions: Literal["json", "coco_cn"] = value(
        "json", "json: COCO's own, one pair an annotation; coco_cn: imageid.human-written-caption.txt, one pair a line"
    )
    base_url: str = value(
        "http://images.cocodataset.org", "where images lie whose url the file does not state: BASE/train2014/NAME.jpg"
    )

    @model_validator(mode="after")
    def _chinese_as_it_is(self) -> CocoSource:
        if self.captions == "coco_cn" and self.translation:
            raise ValueError("`captions: coco_cn` is Chinese already: it takes no `translation`")
        return self


class VisualGenomeSource(ImageSetSource):
    """Visual Genome's region_descriptions.json: an image with its phrases joined, or each region by itself."""

    kind: Literal["visual_genome"]
    image_data: str = value(..., "image_data.json: urls, sizes, and the ids of COCO and Flickr")
    pairs: Literal["joined", "regions"] = value(
        "joined",
        "joined: an image with all its phrases (paper, section 2.2); regions: each region, cut out of its image",
    )
    joiner: str = value("，", "between the phrases of a joined caption")
    max_joined: int = value(
        MAX_JOINED,
        "longest joined caption: phrases that would go beyond it are left out, whole; where `rules` do not speak of length, "
        "caption_length.max is the same",
        "characters",
        ge=1,
    )

    @model_validator(mode="before")
    @classmethod
    def _rules_for_joined_captions(cls, found: Any) -> Any:
        """Rules that do not speak of length are not to reject what `max_joined` allows."""
        if not isinstance(found, dict) or found.get("pairs", "joined") != "joined":
            return found
        rules, longest = found.get("rules", {}), found.get("max_joined", MAX_JOINED)
        if not isinstance(rules, dict) or "caption_length" in rules or not isinstance(longest, int):
            return found
        shortest = CaptionLength.model_fields["min"].default
        return {**found, "rules": {**rules, "caption_length": {"max": max(longest, shortest)}}}

    @model_validator(mode="after")
    def _joined_captions_fit(self) -> VisualGenomeSource:
        longest = self.rules.caption_length.max
        if self.pairs == "joined" and self.max_joined > longest:
            raise ValueError(
                f"max_joined ({self.max_joined}) must not exceed rules.caption_length.max ({longest}), or full captions are "
                "rejected"
            )
        return self


SOURCE_KINDS: dict[str, type[SourceBase]] = {
    "laion": LaionSource,
    "wukong": WukongSource,
    "table": TableSource,
    "coco": CocoSource,
    "visual_genome": VisualGenomeSource,
}
Source = Annotated[
    LaionSource | WukongSource | TableSource | CocoSource | VisualGenomeSource, Field(discriminator="kind")
]


def image_places(sources: Mapping[str, SourceBase]) -> dict[str, tuple[str, ...]]:
    """Source → the folders and zip files that hold its images, for the sources that have any."""
    return {name: one.images for name, one in sources.items() if isinstance(one, ImageSetSource) and one.images}
