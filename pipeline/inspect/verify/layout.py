"""How the metadata was divided: layout.json."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from foundation.text import counted
from pipeline.inspect.verify.context import Context
from pipeline.run.manifest import RunError
from pipeline.run.names import LAYOUT_FILE
from pipeline.sources.splits import Split
from pipeline.stages.layout import Layout, read_layout, wanted_buckets

FIELDS = {
    "source": str, "file": str, "format": str, "first_row": int, "guessed_rows": int, "row_groups": tuple, "start": int,
    "problem": str,
}  # fmt: skip


def sound_layout(context: Context) -> Layout:
    """The run's layout.

    Raises:
        RunError: it is damaged.
    """
    layout = read_layout(context.run)
    wrong = [split for split in layout.splits if not _is_split(split)]
    if wrong or type(layout.buckets) is not int or not isinstance(layout.lists, dict):
        raise RunError(
            f"{LAYOUT_FILE}: damaged: its values are not of the kinds that a layout has; put it back from a copy"
        )
    return layout


def check_layout(context: Context, layout: Layout) -> Iterator[str]:
    """The layout against the recipe, and against what the read stage counted. What it says of files that a complete run
    no longer needs, such as the hashes of lists, rests on the root alone."""
    run = context.run
    sources = list(dict.fromkeys(split.source for split in layout.splits))
    if [source for source in run.recipe.sources if source in sources] != sources:
        yield f"{LAYOUT_FILE}: its sources are {', '.join(sources)}; the recipe's are {', '.join(run.recipe.sources)}"
    if layout.buckets != (buckets := wanted_buckets(layout.splits, run.recipe)):
        yield f"{LAYOUT_FILE}: {counted(layout.buckets, 'bucket')}; its rows and the recipe's plan.bucket_rows give {buckets:,}"
    if not str(layout.hasher).startswith("polars "):
        yield f"{LAYOUT_FILE}: `hasher` names no version of polars"
    yield from _gaps(layout)
    yield from _rows(context, layout)


def _is_split(split: Split) -> bool:
    rows_known = split.rows is None or (type(split.rows) is int and split.rows >= 0)
    return rows_known and all(type(getattr(split, name)) is kind for name, kind in FIELDS.items())


def _gaps(layout: Layout) -> Iterator[str]:
    """Splits of a file follow one another without a gap."""
    ends: dict[tuple[str, str], int | None] = defaultdict(int)
    for number, split in enumerate(layout.splits):
        end = ends[split.source, split.file]
        if end is not None and split.first_row != end:
            yield f"{LAYOUT_FILE}: split {number} of {split.file} begins at row {split.first_row:,}; expected row {end:,}"
        ends[split.source, split.file] = None if split.rows is None else split.first_row + split.rows


def _rows(context: Context, layout: Layout) -> Iterator[str]:
    """What each split's manifest counts: rows of its source alone, and as many as the file stated."""
    for number, split in enumerate(layout.splits):
        manifest = context.run.manifest("read", f"{number:06d}")
        if manifest is None:
            continue
        sources: Mapping[str, Mapping[str, int]] = manifest.counts.get("sources", {})
        if set(sources) != {split.source}:
            yield f"{context.name_of(manifest)}: counts {', '.join(sources)}; {LAYOUT_FILE} gives the split to {split.source}"
        rows = sources.get(split.source, {})
        if split.rows is not None and not rows.get("unknown") and rows.get("in") != split.rows:
            yield f"{context.name_of(manifest)}: {rows.get('in')} rows in; {LAYOUT_FILE} has {split.rows:,} in this split"
