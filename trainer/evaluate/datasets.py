"""An evaluation set: images, texts, and which belong together, from any of the layouts that such sets come in.

folder                                             layout
MR_valid_imgs.tsv, MR_valid_queries.jsonl          MUGE, as published
valid_imgs.tsv, valid_texts.jsonl                  Chinese-CLIP's, for any set
imageid.human-written-caption.txt, coco-cn_*.txt   COCO-CN, as published, with COCO's images
flickr30kzhmbosontest/{ImageSets,TextData}         Flickr30k-CN, as published, with Flickr30k's images
flickr30k_cn_test.txt                              Flickr30k-CNA's single files, with Flickr30k's images
captions.jsonl                                     plain: images, and {"image": FILE, "text": …} lines
manifest.json, *.tar, *.parquet                    a data set that zhclip published
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from foundation.text import counted, shown
from trainer.evaluate.layouts import (
    Benchmark,
    Content,
    read_coco_cn,
    read_flickr30k_cn,
    read_folder,
    read_published,
    read_tsv,
)
from trainer.evaluate.retrieval import BOTH, Direction
from trainer.evaluate.sources import EvaluationSetError, ImageSource

__all__ = ["EvaluationSet", "EvaluationSetError"]

READERS = (read_tsv, read_coco_cn, read_flickr30k_cn, read_folder, read_published)


@dataclass(frozen=True)
class EvaluationSet:
    """Images and texts of one split, in a fixed order; positions in `text_to_images` follow `image_ids`."""

    name: str
    layout: str
    split: str | None
    benchmark: Benchmark | None  # which of the paper's sets it is, where that is known
    texts: tuple[tuple[str, str], ...]  # id and text
    text_to_images: tuple[frozenset[int], ...]  # empty: no answer known
    source: ImageSource

    @classmethod
    def load(cls, path: str | Path, split: str | None = None) -> EvaluationSet:
        """Reads a folder of any layout above. Captions are held in memory, images are not.

        Args:
            path: the folder; images of COCO and Flickr30k are looked for two folders deep, links are followed.
            split: test, valid (or val), train; None: the one that the paper reports (valid for MUGE, else test).

        Raises:
            EvaluationSetError: no known layout, or bad content; the message names file, line and what was expected.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise EvaluationSetError(f"{path}: expected the folder of an evaluation set")
        for reader in READERS:
            content = reader(folder, split)
            if content is not None:
                return cls._resolve(folder.resolve().name, content)
        listing = ", ".join(sorted(child.name for child in folder.iterdir())[:8]) or "nothing"
        expected = "*_imgs.tsv, imageid.human-written-caption.txt, TextData/, flickr30k_cn*.txt, captions.jsonl or manifest.json"
        raise EvaluationSetError(f"{path}: expected {expected}; found {listing}")

    @classmethod
    def _resolve(cls, name: str, content: Content) -> EvaluationSet:
        positions = {image: position for position, image in enumerate(content.images.ids)}
        resolved = []
        for relevant, location in zip(content.relevant, content.places, strict=True):
            unknown = [image for image in relevant if image not in positions]
            if unknown:
                raise EvaluationSetError(
                    f"{location}: image {shown(unknown[0])} is not among the {counted(len(positions), 'image')}"
                )
            resolved.append(frozenset(positions[image] for image in relevant))
        if not any(resolved):
            raise EvaluationSetError(
                f"{name} {content.split or ''}: expected texts with images; none of {len(resolved)} has one"
            )
        return cls(
            name, content.layout, content.split, content.benchmark, content.texts, tuple(resolved), content.images
        )

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Ids of the images, in order."""
        return tuple(self.source.ids)

    @property
    def title(self) -> str:
        """Name and split, for people."""
        return f"{self.name} {(self.split or '').removeprefix('MR_')}".strip()

    @property
    def directions(self) -> tuple[Direction, ...]:
        """What is reported: both, but on MUGE text to image only (Table 2)."""
        return BOTH[:1] if self.benchmark == "muge" else BOTH

    def images(self) -> Iterator[tuple[str, bytes]]:
        """Id and encoded bytes (JPEG, PNG …) of each image, one at a time."""
        return zip(self.source.ids, self.source.read(), strict=True)
