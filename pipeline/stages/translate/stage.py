"""Translate: the English texts of one split into Chinese, by the model that the source names.

Every text is translated, also one that the source's files of translations hold: those are looked up by id when the split is
read, and win. A split may take hours, so it is done in parts of PART_TEXTS, which a killed process leaves for the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.recipe import Recipe
from pipeline.run.attempt import Attempt
from pipeline.run.folder import Item, Run
from pipeline.run.manifest import RunError
from pipeline.run.names import PARTS
from pipeline.run.parquet import parquet_writer, write_parquet
from pipeline.sources.splits import Split
from pipeline.stages.base import Stage, without
from pipeline.stages.layout import make_layout, read_inputs, read_layout

if TYPE_CHECKING:
    from pipeline.sources.translation import Translation
    from pipeline.stages.translate.marian import Translator

PART_TEXTS = 8_192  # texts translated at a time: enough for full batches of like length
SCHEMA = pa.schema([pa.field("row", pa.int64(), False), pa.field("chinese", pa.list_(pa.string()))])


class Translate(Stage):
    """One shard per split of a source with a model; it has the name that the split has in `read`."""

    name = "translate"
    command = "translate"
    label = "translate"
    summary = "Translate the English captions of sources that have a translation.model."
    extra = "translate"
    endings = (".parquet",)

    def inputs(self, recipe: Recipe) -> dict[str, Any]:
        """The texts that are translated, and how; {} where no source has a model."""
        values = recipe.canonical()
        irrelevant = {"rules", "removal_lists", "test_sets", "images"}
        sources = {name: without(read_inputs(source), irrelevant) for name, source in values["sources"].items()}
        models = [
            source["translation"] for source in sources.values() if (source.get("translation") or {}).get("model")
        ]
        if not models:
            return {}
        for model in models:
            del model["files"]  # what they lack is not known when the model runs: it translates every text
        return {"sources": sources, "split_rows": values["plan"]["split_rows"]}  # all sources: they number the splits

    def enabled(self, recipe: Recipe) -> bool:
        """Whether any source is translated by a model."""
        return any(_model_of(recipe, name) is not None for name in recipe.sources)

    def prepare(self, run: Run) -> None:
        """Divide the metadata, where that is not done yet."""
        make_layout(run)

    def shards(self, run: Run) -> list[str]:
        """Names of the splits to translate."""
        if not self.enabled(run.recipe):
            return []
        splits = enumerate(read_layout(run).splits)
        return [f"{number:06d}" for number, split in splits if _model_of(run.recipe, split.source) is not None]

    def make(self, attempt: Attempt, item: Item) -> None:
        """Translate one split and commit row numbers with the Chinese of each row's texts."""
        _translate(attempt, item.name)


def _translate(attempt: Attempt, shard: str) -> None:
    from pipeline.stages.translate import load_translator  # brings torch

    run = attempt.run
    split = read_layout(run).splits[int(shard)]
    config = _model_of(run.recipe, split.source)
    assert config is not None  # `shards` names no other split
    translator = load_translator(config)
    parts = f"{run.stages['translate'].folder}/{PARTS}/{shard}-{run.digest('translate')}"
    counts: dict[str, Any] = {"source": split.source, "in": 0, "out": 0, "texts": 0, "translator": translator.identity}
    with parquet_writer(attempt.output(".parquet"), SCHEMA) as writer:
        for number, (rows, english) in enumerate(_parts(run, split)):
            table = _translated_part(attempt, f"{parts}/{number:06d}.parquet", rows, english, translator)
            writer.write_table(table)
            counts["in"] += table.num_rows
            counts["out"] += table.num_rows
            counts["texts"] += len(pc.list_flatten(english))
    attempt.commit(counts)
    for entry in list(run.storage.list(f"{parts}/")):
        run.storage.remove(entry.name)


def translated(run: Run, shard: str) -> pa.Table | None:
    """The translations of a split: row (int64, position in its file) and chinese (list of strings, one for each English text
    of the row, null where a text has none), in the order of `Source.read_english`. None where the source has no model.

    Raises:
        RunError: the split is not translated yet.
    """
    if _model_of(run.recipe, read_layout(run).splits[int(shard)].source) is None:
        return None
    if run.manifest("translate", shard) is None:
        raise RunError(f"{run.address}: split {shard} is not translated yet: run `zhclip translate` or `zhclip curate`")
    return run.table("translate", shard)


def _model_of(recipe: Recipe, source: str) -> Translation | None:
    """The translation section of a source that names a model."""
    config = recipe.sources[source].translated_by
    return config if config is not None and config.model is not None else None


def _parts(run: Run, split: Split) -> Iterator[tuple[np.ndarray, pa.ListArray]]:
    """Rows of about PART_TEXTS texts at a time, whatever the batches that they are read in: same split, same parts."""
    waiting: list[tuple[np.ndarray, pa.ListArray]] = []
    texts = 0
    for rows, english in run.recipe.sources[split.source].read_english(split):
        waiting.append((rows, english))
        texts += _texts(english)
        if texts >= PART_TEXTS:
            *full, rest = _cut(waiting)
            yield from full
            waiting, texts = [rest], _texts(rest[1])
    yield from (part for part in _cut(waiting) if len(part[0]))


def _cut(waiting: list[tuple[np.ndarray, pa.ListArray]]) -> list[tuple[np.ndarray, pa.ListArray]]:
    """The rows cut after every PART_TEXTS texts (a row is never divided); the last part may be smaller, or empty."""
    if not waiting:
        return []
    rows = np.concatenate([numbers for numbers, _ in waiting])
    english = pa.concat_arrays([texts for _, texts in waiting])
    before = np.concatenate([[0], np.cumsum(pc.fill_null(pc.list_value_length(english), 0).to_numpy())])
    ends = [0]
    while (end := int(np.searchsorted(before, before[ends[-1]] + PART_TEXTS))) <= len(rows):
        ends.append(max(end, ends[-1] + 1))
    return [
        (rows[start:end], english.slice(start, end - start))
        for start, end in zip(ends, [*ends[1:], len(rows)], strict=True)
    ]


def _translated_part(
    attempt: Attempt, name: str, rows: np.ndarray, english: pa.ListArray, translator: Translator
) -> pa.Table:
    """One part, as an earlier process left it, or translated now and left for a later one."""
    storage = attempt.run.storage
    with suppress(FileNotFoundError), storage.open(name) as file:
        return pq.read_table(file, schema=SCHEMA)
    texts = pc.list_flatten(english).to_pylist()
    translations = translator.translate([text or "" for text in texts])
    chinese = pa.array([text or None for text in translations], pa.string())
    lengths = pc.fill_null(pc.list_value_length(english), 0).to_numpy()
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    lists = pa.ListArray.from_arrays(offsets, chinese, mask=pc.is_null(english))
    table = pa.Table.from_arrays([pa.array(rows, pa.int64()), lists], schema=SCHEMA)
    written = attempt.folder / "part.parquet"
    write_parquet(table, written)
    storage.put(name, written)
    return table


def _texts(english: pa.ListArray) -> int:
    return len(pc.list_flatten(english))
