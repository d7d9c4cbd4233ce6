"""The caption of a row that has English texts: their Chinese, from files and from the translator, joined where several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foundation.errors import WorkFailed
from foundation.lazy import polars as pl
from pipeline.sources.translation import known_translations

if TYPE_CHECKING:
    from pipeline.sources.base import Source

ENGLISH_JOINER = "; "


class WrongTranslation(WorkFailed):
    """The translator's output does not belong to the rows that were read."""


class Captions:
    """Completes the pairs of one split, batch by batch, in file order.

    Args:
        source: of the split.
        model: the translator's output for the whole split: `row` (int64) and `chinese` (list<string>, one for each text
            of the row, null where it has none), in the order of `Source.read_english`; None where no model translates.
    """

    def __init__(self, source: Source, model: pa.Table | None) -> None:
        self._source, self._model = source, model
        self._next_row = 0  # of the model's output
        translation = source.translated_by
        self._is_translated = translation is not None
        self._known: Mapping[str, str] = known_translations(translation) if translation else {}

    def complete(self, pairs: pa.Table, raw: pa.Table) -> pa.Table:
        """`pairs` with `caption` and `english`, where `raw`, the rows that they were made of, has English texts.

        Of several texts those that have Chinese are joined, as many as the bound of `Source.joining` holds in full, the
        first always; `english` names just these, or all where none is translated. Without a translation the English is
        the caption.

        Raises:
            WrongTranslation: the translator's rows are others than these.
        """
        texts = self._source.english(raw)
        if texts is None:
            return pairs
        english = pc.list_flatten(texts)
        chinese = self._chinese(pairs, raw, texts) if self._is_translated else english
        rows = np.repeat(np.arange(len(texts)), pc.fill_null(pc.list_value_length(texts), 0).to_numpy())
        frame = pl.DataFrame({"row": rows, "english": pl.from_arrow(english), "chinese": pl.from_arrow(chinese)})
        joined = join_texts(frame, *self._source.joining())
        all_rows = pl.DataFrame({"row": np.arange(len(texts))}).join(
            joined, on="row", how="left", maintain_order="left"
        )
        for column, values in (("caption", all_rows["chinese"]), ("english", all_rows["english"])):
            index = pairs.schema.get_field_index(column)
            joined_texts = values.to_arrow().cast(pa.string())
            pairs = pairs.set_column(index, pairs.schema.field(index), pc.coalesce(joined_texts, pairs[column]))
        return pairs

    def _chinese(self, pairs: pa.Table, raw: pa.Table, texts: pa.ListArray) -> pa.Array:
        """The Chinese of each text, flat: of a file where one knows an id of it, else the model's."""
        id_lists = self._source.text_ids(raw) if self._known else []
        candidates = [self._of_files(pc.list_flatten(ids)) for ids in id_lists]
        if self._model is not None:
            candidates.append(self._of_model(self._model, pairs["row"], texts))
        return pc.coalesce(*candidates) if candidates else pa.nulls(len(pc.list_flatten(texts)), pa.string())

    def _of_files(self, ids: pa.Array) -> pa.Array:
        return pa.array([self._known.get(name) for name in ids.to_pylist()], pa.string())

    def _of_model(self, model: pa.Table, rows: pa.ChunkedArray, texts: pa.ListArray) -> pa.Array:
        batch = model.slice(self._next_row, len(texts))
        self._next_row += len(texts)
        flat = pc.list_flatten(batch["chinese"].combine_chunks())
        if not batch["row"].equals(rows) or len(flat) != len(pc.list_flatten(texts)):
            raise WrongTranslation(
                "translate/ does not hold the texts that the metadata has now; start a new run with --run"
            )
        trimmed = pc.utf8_trim_whitespace(flat)
        return pc.if_else(pc.equal(trimmed, ""), None, trimmed)


def join_texts(texts: pl.DataFrame, joiner: str, longest: int | None) -> pl.DataFrame:
    """Texts of rows, joined: `row`, `chinese` (null where no text of the row has any) and `english`.

    Args:
        texts: `row` (integers, ascending), `english` and `chinese` (strings), one text a line.
        joiner: between Chinese texts.
        longest: characters of a joined Chinese text; the first text counts whatever its length. None: no bound.
    """
    texts = texts.filter(pl.col("english").is_not_null())
    length = (pl.col("chinese").str.len_chars() + len(joiner)).cum_sum().over("row") - len(joiner)
    is_first = pl.int_range(pl.len()).over("row") == 0
    translated = texts.filter(pl.col("chinese").is_not_null())
    used = translated if longest is None else translated.filter((length <= longest) | is_first)
    without = texts.join(used.select("row").unique(), on="row", how="anti")
    english = pl.col("english").str.join(ENGLISH_JOINER)
    return pl.concat(
        [
            used.group_by("row", maintain_order=True).agg(pl.col("chinese").str.join(joiner), english),
            without.group_by("row", maintain_order=True).agg(pl.lit(None, pl.String).alias("chinese"), english),
        ]
    )
