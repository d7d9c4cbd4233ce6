"""The rows of any source: how its files are divided, and how a split is read."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.sources.coco import read_coco, read_coco_cn
from pipeline.sources.config import CocoSource, LaionSource, Source, TableSource, VisualGenomeSource
from pipeline.sources.pairs import column_mapping
from pipeline.sources.readers import Block, Unreadable, guarded, read_split
from pipeline.sources.splits import Split, list_splits
from pipeline.sources.visual_genome import read_visual_genome


def splits_of(name: str, source: Source, rows_per_split: int) -> list[Split]:
    """All splits of a source, in the order of its files; raises as `list_splits` does."""
    return list_splits(name, source.files, format_name(source), rows_per_split)


def format_name(source: Source) -> str | None:
    """The format of a source's files; None where each file's name says it."""
    if isinstance(source, TableSource):
        return source.format
    if isinstance(source, CocoSource):
        return "coco" if source.captions == "json" else "coco_cn"
    if isinstance(source, VisualGenomeSource):
        return f"visual_genome_{source.pairs}"
    return "parquet" if isinstance(source, LaionSource) else "csv"


def read_rows(split: Split, source: Source) -> Iterator[Block | Unreadable]:
    """The rows of a split, batch by batch, in file order, as raw columns; raises as `read_split` does."""
    if isinstance(source, CocoSource):
        return guarded(split, read_coco(split, source) if source.captions == "json" else read_coco_cn(split, source))
    if isinstance(source, VisualGenomeSource):
        return guarded(split, read_visual_genome(split, source))
    return read_split(split, list(column_mapping(source).values()))
