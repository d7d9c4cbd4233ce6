"""What every source has, whatever its format: its part of the recipe, and how its files become pairs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from filters.base import Filter
from filters.not_translated import NotTranslated
from filters.rules import Rules
from foundation.config import Config, value
from pipeline.sources.columns import canonical_pairs
from pipeline.sources.files import find_files, is_damage, size_of
from pipeline.sources.rules.removed_urls import RemovedUrls
from pipeline.sources.splits import Block, Split, Unreadable, guarded
from pipeline.sources.translation import Translation, known_translations

GUESSED_BYTES_PER_ROW = 150  # only to choose the number of buckets


def min_score(default: float | None) -> Any:
    """Declare the value `min_score`, whose default differs between kinds of sources."""
    description = "pairs with lower scores are rejected; null keeps all (paper, section 2.2: 0.26, for LAION)"
    return value(default, description, "cosine similarity", ge=-1, le=1)


class Source(Config):
    """One entry of a recipe's `sources`.

    A kind of source is a subclass with a `kind` of its own and a `read_split`, in a module of its own that `registry`
    names. Every other method has a default that suits a file of urls and Chinese captions.
    """

    kind: str
    files: tuple[str, ...] = value(..., "metadata files: paths or globs, local or any fsspec url (https, s3, gs, hf)")
    rules: Rules = value(Rules, "which pairs of this source are kept; null switches a rule off")
    min_score: float | None = min_score(0.26)
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

    # How files are divided and read

    def splits(self, name: str, rows_per_split: int) -> list[Split]:
        """All splits of the source called `name`, in the order of its files.

        A file that cannot be opened becomes a split with a `problem`; it stops nothing else.

        Raises:
            NoSuchFiles: a pattern matches nothing.
            OSError: a remote file system does not answer.
        """
        files = find_files(self.files)
        with ThreadPoolExecutor(16) as pool:
            splits_by_file = pool.map(lambda file: self._splits_or_problem(name, file, rows_per_split), files)
            return [split for splits in splits_by_file for split in splits]

    def _splits_or_problem(self, name: str, file: str, rows_per_split: int) -> list[Split]:
        splits: list[Split] = []
        try:
            splits.extend(self.split_file(name, file, rows_per_split))
        except (OSError, ValueError) as error:  # pyarrow's errors are both
            if not is_damage(error, file):
                raise
            problem = f"{type(error).__name__}: {error}"
            splits.append(Split(name, file, self.file_format(file), 0, None, 0, problem=problem))
        return splits

    def split_file(self, name: str, file: str, rows_per_split: int) -> Iterator[Split]:  # noqa: ARG002
        """The splits of one file; by default the file is one split."""
        yield Split(name, file, self.file_format(file), 0, None, size_of(file) // GUESSED_BYTES_PER_ROW)

    def file_format(self, file: str) -> str:  # noqa: ARG002
        """What a split of `file` notes as its format, for `read_split`."""
        return self.kind

    def read(self, split: Split) -> Iterator[Block | Unreadable]:
        """The rows of a split, batch by batch, in file order, as raw columns; an Unreadable for whatever is damaged.

        Raises:
            OSError: a remote file system does not answer; nothing is known of the file, so it must be tried again.
        """
        return guarded(split, self.read_split(split))

    @abstractmethod
    def read_split(self, split: Split) -> Iterator[Block | Unreadable]:
        """The rows of a split of a file that opens. What it raises because the file is damaged, `read` reports."""

    # How rows become pairs

    def column_names(self) -> Mapping[str, str]:
        """Pair column → column of the raw rows (case ignored)."""
        return {"url": "url", "caption": "caption"}

    def required_columns(self) -> tuple[str, ...]:
        """The pair columns without which a file is no file of this source."""
        return ("url", "caption")

    def to_pairs(self, raw: pa.Table, name: str, file: str, positions: np.ndarray) -> pa.Table:
        """Canonical pairs (PAIR_SCHEMA) of raw rows; values that do not fit a column's type become null.

        Args:
            positions: int64 [raw.num_rows], each row's position in `file`.

        Raises:
            MissingColumns: the file lacks one of `required_columns`.
        """
        return canonical_pairs(raw, self.column_names(), self.required_columns(), name, file, positions)

    def in_scope(self, pairs: pa.Table) -> np.ndarray | None:  # noqa: ARG002
        """bool [pairs.num_rows]: which rows are in the languages asked for; None: all of them."""
        return None

    # English texts

    @property
    def translated_by(self) -> Translation | None:
        """Where the Chinese of the English texts comes from; None: nothing is translated."""
        return None

    def english(self, raw: pa.Table) -> pa.ListArray | None:  # noqa: ARG002
        """The English texts of raw rows, list<string>: one caption a row, or the phrases of an image; None: there are none.

        A text may be null.
        """
        return None

    def text_ids(self, raw: pa.Table) -> list[pa.ListArray]:  # noqa: ARG002
        """What files of translations may call the texts of `english`: lists of the same lengths, in the order to try them."""
        return []

    def joining(self) -> tuple[str, int | None]:
        """What stands between the texts of a row that become its caption, and the caption's longest length in characters."""
        return "", None

    def read_english(self, split: Split) -> Iterator[tuple[np.ndarray, pa.ListArray]]:
        """(positions, texts) of the rows of a split that can be read, batch by batch, in file order.

        positions: int64 [n], rows of the file. texts: list<string> [n], as `english` gives them.
        """
        for block in self.read(split):
            if isinstance(block, Block) and (texts := self.english(block.table)) is not None:
                yield block.positions, texts

    # Rules, and what is needed beside the metadata

    def row_rules(self) -> tuple[Filter, ...]:
        """The rules that look at one row alone; their order gives the bits of a verdict."""
        removed = (RemovedUrls(lists=self.removal_lists),) if self.removal_lists else ()
        untranslated = (NotTranslated(),) if self.translated_by else ()
        return (*self.metadata_rules(), *removed, *untranslated)

    def metadata_rules(self) -> tuple[Filter, ...]:
        """Those of `rules` that look at one row alone."""
        return self.rules.row_filters()

    @property
    def image_folders(self) -> tuple[str, ...]:
        """Folders and zip files of this machine that hold the images; empty: they are fetched by url."""
        return ()

    def lists(self) -> set[str]:
        """Paths and globs of all further files that decide what comes of a row: they must not change within a run."""
        words = self.rules.blacklist.lists if self.rules.blacklist else ()
        translations = self.translated_by.files if self.translated_by else ()
        return {*self.removal_lists, *words, *translations}

    def checks(self, name: str) -> dict[str, Callable[[], object]]:  # noqa: ARG002
        """Recipe field → a look at what it names (OSError or ValueError: it cannot be used), before hours of work."""
        translation = self.translated_by
        return {"translation": lambda: known_translations(translation)} if translation else {}
