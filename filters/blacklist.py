"""The blacklist: words and patterns of advertising, file names, page text, contact details and adult material."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import model_validator

from filters.base import Filter
from filters.keywords import required_words
from filters.text import WIDE, normal_form, normal_forms, simplified
from foundation.config import value
from foundation.errors import InvalidInput
from foundation.lazy import fsspec
from foundation.lazy import polars as pl

Category = Literal["advertising", "image_file_name", "boilerplate", "contact", "adult"]
CATEGORIES: tuple[Category, ...] = ("advertising", "image_file_name", "boilerplate", "contact", "adult")
USER = "user"
MASKED = "\ufffc"  # stands for an allowed word: a character no entry has


class WordListError(InvalidInput, ValueError):
    """A word list that cannot be read, or an expression in it that cannot be used."""


class Patterns(NamedTuple):
    """The entries of one category, and expressions that find any of them; None where there are no such entries.

    Words and regexes stay apart because the union of hundreds of plain words is searched by an automaton made for words, and a few
    patterns among them cost that (measured: 0.2 against 137 microseconds a caption).
    """

    entries: dict[str, str]  # as written in the list: the expression
    words: str | None
    regexes: str | None
    hints: str | None  # words that must be there for most of the regexes to match
    others: str | None  # the regexes for which there is no such word


class Blacklist(Filter):
    """Rejects captions that contain an entry of a word list. A null caption contains none.

    Captions and entries are compared in one normal form (half-width, lower case, simplified), so that ＡＢＣ, ABC and abc,
    or 廠家直銷 and 厂家直销, are the same. The lists are `filters/words/CATEGORY.txt`. Source of the idea: Chinese-CLIP paper
    (arXiv 2211.01335), section 2.2; its own list is not public. WordListError for a list that cannot be read or a broken
    regular expression.
    """

    reasons: ClassVar[Mapping[str, str]] = {
        "blacklist_advertising": "the caption contains a word or pattern of advertising",
        "blacklist_image_file_name": "the caption contains what names an image file rather than an image",
        "blacklist_boilerplate": "the caption contains text of a page around the image",
        "blacklist_contact": "the caption contains contact details",
        "blacklist_adult": "the caption contains a word of adult material",
        "blacklist_user": "the caption contains an entry of the recipe's own `words` or `lists`",
    }
    columns: ClassVar[tuple[str, ...]] = ("caption",)

    categories: tuple[Category, ...] = value(CATEGORIES, "word lists of the project that apply")
    words: tuple[str, ...] = value((), "further entries; `re:` begins a regular expression (Rust syntax)")
    lists: tuple[str, ...] = value((), "files of further entries: UTF-8, one a line, # for comments", "fsspec paths")
    confirm_with_jieba: bool = value(False, "count a word only where it begins and ends at word boundaries of jieba")
    allow: tuple[str, ...] = value((), "words that are exceptions: entries inside them do not count")

    @model_validator(mode="after")
    def _readable(self) -> Blacklist:
        self._patterns()
        return self

    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """A mask for each of `reasons`; `blacklist_user` stands for `words` and `lists` together."""
        patterns = self._patterns()
        captions = normal_forms(pairs["caption"])
        suspects = np.flatnonzero(_screen(captions, patterns).to_numpy())
        texts = self._without_allowed(captions.gather(suspects))
        masks = {}
        for reason, name in zip(self.reasons, (*CATEGORIES, USER), strict=True):
            rejected = np.zeros(len(captions), dtype=bool)
            if name in patterns:
                rejected[suspects] = self._matching(texts, patterns[name])
            masks[reason] = pa.array(rejected)
        return masks

    def matches(self, caption: str) -> list[tuple[str, str]]:
        """Why a caption is rejected: (category, entry as its list has it) of every entry that it contains."""
        return list(self.hits([caption]))

    def hits(self, captions: Sequence[str]) -> dict[tuple[str, str], list[int]]:
        """(category, entry) → positions of the captions that contain the entry, for entries that any caption contains.

        Entries are searched one by one only in the captions that contain some entry of their category.
        """
        texts = self._without_allowed(pl.Series([normal_form(caption) for caption in captions], dtype=pl.String))
        hits: dict[tuple[str, str], list[int]] = {}
        for name, patterns in self._patterns().items():
            suspects = np.flatnonzero(_contains_any(texts, patterns))
            suspect_texts = texts.gather(suspects)
            for entry, expression in patterns.entries.items() if len(suspects) else ():
                positions = suspects[self._matching(suspect_texts, _single(entry, expression))]
                if len(positions):
                    hits[name, entry] = positions.tolist()
        return hits

    def _patterns(self) -> dict[str, Patterns]:
        return _load(self.categories, self.words, self.lists)

    def _without_allowed(self, captions: pl.Series) -> pl.Series:
        if not self.allow:
            return captions
        return captions.str.replace_all("|".join(re.escape(normal_form(word)) for word in self.allow), MASKED)

    def _matching(self, captions: pl.Series, patterns: Patterns) -> np.ndarray:
        """Bool array, one per caption: whether it contains an entry."""
        matching = np.zeros(len(captions), dtype=bool)
        if patterns.regexes:
            matching |= captions.str.contains(patterns.regexes).to_numpy()
        if patterns.words:
            with_word = captions.str.contains(patterns.words).to_numpy()
            if self.confirm_with_jieba:
                with_word = _confirmed(captions, with_word & ~matching, patterns.words)
            matching |= with_word
        return matching


def _contains_any(captions: pl.Series, patterns: Patterns) -> np.ndarray:
    """Bool array, one per caption: whether an entry may be in it, before jieba confirms words."""
    contains = np.zeros(len(captions), dtype=bool)
    for union in (patterns.words, patterns.regexes):
        if union:
            contains |= captions.str.contains(union).to_numpy()
    return contains


def _screen(captions: pl.Series, patterns: dict[str, Patterns]) -> pl.Series:
    """True where an entry of any category may be: two quick passes over all categories, before the exact search."""
    words = _union(union for p in patterns.values() for union in (p.words, p.hints))
    hit = pl.Series(np.zeros(len(captions), dtype=bool))
    for union in (words, _union(p.others for p in patterns.values())):
        if union:
            hit = hit | captions.str.contains(union)
    return hit


def _confirmed(captions: pl.Series, hit: np.ndarray, words: str) -> np.ndarray:
    """Of the captions that `hit` marks, those in which a word begins and ends where jieba begins and ends words."""
    import jieba  # its dictionary takes a second to load: only where asked for

    jieba.setLogLevel("WARNING")
    overlapping = re.compile(f"(?=({words}))")
    confirmed = np.zeros(len(captions), dtype=bool)
    for row in np.flatnonzero(hit):
        bounds = {bound for _, start, end in jieba.tokenize(captions[int(row)]) for bound in (start, end)}
        confirmed[row] = any({m.start(1), m.end(1)} <= bounds for m in overlapping.finditer(captions[int(row)]))
    return confirmed


@lru_cache(maxsize=32)
def _load(categories: tuple[str, ...], words: tuple[str, ...], lists: tuple[str, ...]) -> dict[str, Patterns]:
    """The patterns of each category, and of the user's own entries, read and checked once."""
    folder = resources.files("filters") / "words"
    loaded = {name: _entries((folder / f"{name}.txt").read_text("utf-8").splitlines(), name) for name in categories}
    user_entries = _entries(words, "words")
    for path in lists:
        user_entries |= _entries(_read(path), path)
    return {name: _compile(entries) for name, entries in {**loaded, USER: user_entries}.items() if entries}


def _read(path: str) -> list[str]:
    try:
        with fsspec.open(path, "rt", encoding="utf-8-sig") as lines:
            return lines.read().splitlines()
    except (OSError, UnicodeDecodeError, ImportError) as error:
        raise WordListError(f"word list {path} cannot be read: {error}") from error


def _entries(lines: Iterable[str], location: str) -> dict[str, str]:
    """Entries as written, and their expressions in normal form. WordListError says where a broken entry stands."""
    entries = {}
    for number, line in enumerate(lines, 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        if entry.startswith("re:"):
            expression = _normal_regex(entry.removeprefix("re:").strip())
            _check(expression, f"{location}, entry {number}: {entry}")
        else:
            expression = re.escape(normal_form(entry))
        entries[entry] = expression
    return entries


def _check(expression: str, location: str) -> None:
    try:
        empty = pl.Series([""]).str.contains(expression, strict=True)[0]
    except pl.exceptions.ComputeError as error:
        raise WordListError(f"broken regular expression in {location}: {error}") from error
    if empty:
        raise WordListError(f"regular expression matches every caption, even an empty one, in {location}")


def _normal_regex(regex: str) -> str:
    """A regular expression for captions in normal form. Full-width punctuation is escaped, so as not to become syntax."""
    plain = "".join(simplified().get(char, char) for char in regex)
    plain = "".join(re.escape(chr(ord(c) - WIDE)) if 0x21 + WIDE <= ord(c) < 0x7F + WIDE else c for c in plain)
    capitals = re.search(r"[A-Z]", re.sub(r"\\(?:[pP]\{.*?\}|.)|\(\?P", "", plain))
    return f"(?i:{plain})" if capitals else f"(?:{plain})"


def _compile(entries: dict[str, str]) -> Patterns:
    regexes = [expression for entry, expression in entries.items() if entry.startswith("re:")]
    words = [expression for entry, expression in entries.items() if not entry.startswith("re:")]
    needed = {regex: required_words(regex.removeprefix("(?:").removesuffix(")")) for regex in regexes}
    hints = sorted({re.escape(word) for words_of_regex in needed.values() for word in words_of_regex or ()})
    others = [regex for regex, words_of_regex in needed.items() if not words_of_regex]
    return Patterns(entries, _union(words), _union(regexes), _union(hints), _union(others))


def _single(entry: str, expression: str) -> Patterns:
    """Patterns of one entry, for `_matching` alone: without the hints that speed up a search through many."""
    is_regex = entry.startswith("re:")
    return Patterns({entry: expression}, None if is_regex else expression, expression if is_regex else None, None, None)


def _union(expressions: Iterable[str | None]) -> str | None:
    return "|".join(expression for expression in expressions if expression) or None
