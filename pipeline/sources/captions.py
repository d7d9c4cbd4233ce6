"""The caption of a row that has English texts: their Chinese, from files and from the translator, joined where several."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from filters.base import Filter
from foundation.errors import WorkFailed
from pipeline.sources.config import ImageSetSource, Source, TableSource, VisualGenomeSource
from pipeline.sources.english import ids_of, texts_of
from pipeline.sources.translation import Translation, load_translations

ENGLISH_JOINER = "; "


class NotTranslated(Filter):
    """Rejects rows that have an English text and no Chinese one."""

    reasons: ClassVar[tuple[str, ...]] = ("not_translated",)
    columns: ClassVar[tuple[str, ...]] = ("caption", "english")

    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """True where `english` is there and `caption` is null."""
        return {"not_translated": pc.and_(pc.is_null(pairs["caption"]), pc.is_valid(pairs["english"]))}


class WrongTranslation(WorkFailed):
    """The translator's output does not belong to the rows that were read."""


class Captions:
    """Completes the pairs of one split, batch by batch, in file order.

    Args:
        source: of the split.
        model: the translator's output for the whole split: `row` (int64) and `chinese` (list<string>, one for each text
            of the row, null where it has none), in the order of `english_of`; None where no model translates.
    """

    def __init__(self, source: Source, model: pa.Table | None) -> None:
        self._source, self._model, self._at = source, model, 0
        translation = source.translation if isinstance(source, ImageSetSource | TableSource) else None
        self._translated = translation is not None
        self._files = load(translation) if translation else {}

    def complete(self, pairs: pa.Table, raw: pa.Table) -> pa.Table:
        """`pairs` with `caption` and `english`, where `raw`, the rows that they were made of, has English texts.

        Of several texts those that have Chinese are joined, as many whole ones as `max_joined` characters hold, the first
        always; `english` names just these, or all where none is translated. Without a translation the English is the
        caption.

        Raises:
            WrongTranslation: the translator's rows are others than these.
        """
        texts = texts_of(raw, self._source)
        if texts is None:
            return pairs
        english = pc.list_flatten(texts)
        chinese = self._chinese(pairs, raw, texts) if self._translated else english
        rows = np.repeat(np.arange(len(texts)), pc.fill_null(pc.list_value_length(texts), 0).to_numpy())
        frame = pl.DataFrame({"row": rows, "english": pl.from_arrow(english), "chinese": pl.from_arrow(chinese)})
        joiner, most = _joining(self._source)
        joined = join_texts(frame, joiner, most)
        everything = pl.DataFrame({"row": np.arange(len(texts))}).join(
            joined, on="row", how="left", maintain_order="left"
        )
        for column, values in (("caption", everything["chinese"]), ("english", everything["english"])):
            index = pairs.schema.get_field_index(column)
            found = values.to_arrow().cast(pa.string())
            pairs = pairs.set_column(index, pairs.schema.field(index), pc.coalesce(found, pairs[column]))
        return pairs

    def _chinese(self, pairs: pa.Table, raw: pa.Table, texts: pa.ListArray) -> pa.Array:
        """The Chinese of each text, flat: of a file where one knows an id of it, else the model's."""
        found = [self._of_files(pc.list_flatten(ids)) for ids in ids_of(raw, self._source)] if self._files else []
        if self._model is not None:
            found.append(self._of_model(pairs["row"], texts))
        return pc.coalesce(*found) if found else pa.nulls(len(pc.list_flatten(texts)), pa.string())

    def _of_files(self, ids: pa.Array) -> pa.Array:
        known: Mapping[str, str] = self._files
        return pa.array([known.get(name) for name in ids.to_pylist()], pa.string())

    def _of_model(self, rows: pa.ChunkedArray, texts: pa.ListArray) -> pa.Array:
        assert self._model is not None
        own = self._model.slice(self._at, len(texts))
        self._at += len(texts)
        chinese = own["chinese"].combine_chunks()
        flat = pc.list_flatten(chinese)
        if not own["row"].equals(rows) or len(flat) != len(pc.list_flatten(texts)):
            raise WrongTranslation(
                "translate/ does not hold the texts that the metadata has now; start a new run with --run"
            )
        trimmed = pc.utf8_trim_whitespace(flat)
        return pc.if_else(pc.equal(trimmed, ""), None, trimmed)


def join_texts(texts: pl.DataFrame, joiner: str, most: int | None) -> pl.DataFrame:
    """Texts of rows, joined: `row`, `chinese` (null where no text of the row has any) and `english`.

    Args:
        texts: `row` (integers, ascending), `english` and `chinese` (strings), one text a line.
        joiner: between Chinese texts.
        most: characters of a joined Chinese text; the first text counts whatever its length. None: no bound.
    """
    texts = texts.filter(pl.col("english").is_not_null())
    length = (pl.col("chinese").str.len_chars() + len(joiner)).cum_sum().over("row") - len(joiner)
    first = pl.int_range(pl.len()).over("row") == 0
    translated = texts.filter(pl.col("chinese").is_not_null())
    used = translated if most is None else translated.filter((length <= most) | first)
    without = texts.join(used.select("row").unique(), on="row", how="anti")
    english = pl.col("english").str.join(ENGLISH_JOINER)
    return pl.concat(
        [
            used.group_by("row", maintain_order=True).agg(pl.col("chinese").str.join(joiner), english),
            without.group_by("row", maintain_order=True).agg(pl.lit(None, pl.String).alias("chinese"), english),
        ]
    )


def _joining(source: Source) -> tuple[str, int | None]:
    """Joiner and bound of a source; without a translation English is joined as English."""
    if isinstance(source, VisualGenomeSource):
        return (source.joiner if source.translation else ENGLISH_JOINER), source.max_joined
    return "", None


_loading = threading.Lock()


def load(translation: Translation) -> dict[str, str]:
    """The texts of a source's translation files, by id.

    Raises:
        TranslationFileError: a file cannot be used.
    """
    if not translation.files:
        return {}
    with _loading:  # without it, two threads would hold the same millions of texts twice
        return _cached(translation.files, translation.simplified)


@lru_cache(maxsize=2)
def _cached(files: tuple[str, ...], simplified: bool) -> dict[str, str]:
    return load_translations(files, simplified)
