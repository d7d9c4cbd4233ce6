"""What a run made of the merge world: of each planted kind, how much was caught and named; what became of clean pairs."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

Row = dict[str, Any]
Place = tuple[str, str, int]  # source, base name of the metadata file, row
Image = tuple[str, str]  # source, id of the image there

TEST_IMAGE, TEST_SET = "test_image_", "test_set_"
GROUP = "in fours"  # form of larger groups of duplicates
COPIES = ("duplicate_image", "near_duplicate_image")
NAMED = re.compile(r"^\S+ image (\S+),")  # the detail of a test image's verdict: SET image ID, distance …


@dataclass(frozen=True)
class Fate:
    """What became of one row."""

    key: str | None
    caption: str | None
    reasons: tuple[str, ...]  # empty where it was published
    detail: str

    @property
    def published(self) -> bool:
        """Whether it got through."""
        return not self.reasons

    def has(self, prefix: str | tuple[str, ...]) -> bool:
        """Whether one of its reasons begins so."""
        return any(reason.startswith(prefix) for reason in self.reasons)


@dataclass(frozen=True)
class Tally:
    """One kind and form of what was planted, in images."""

    kind: str
    form: str
    planted: int
    caught: int  # none of its pairs was published, and the ledger gives the reason
    named: int  # of these, with the right name: test image, list, or a pair of the same group

    @property
    def missed(self) -> int:
        """Images that got through, or fell out for another reason only."""
        return self.planted - self.caught


@dataclass(frozen=True)
class Clean:
    """Pairs that nothing was wrong with."""

    pairs: int
    published: int
    low_score: int
    by_rules: int  # of the plan stage


@dataclass(frozen=True)
class Translation:
    """A translated caption of a published pair."""

    source: str
    by: str  # file or model
    english: str
    chinese: str
    meant: str  # what it should be


@dataclass(frozen=True)
class MergeReport:
    """The result of `merge_report`."""

    planted: tuple[Tally, ...]
    clean: Clean
    mistaken: tuple[str, ...]  # images, of any kind, taken for a copy of another picture
    test_image_sources: dict[str, tuple[str, ...]]  # id of a test image → the source of each image that shows it
    clusters: dict[int, int]  # images in a cluster → clusters
    translations: tuple[Translation, ...]

    def tally(self, kind: str, form: str) -> Tally:
        """The tally of one kind and form; KeyError where none was planted."""
        return {(tally.kind, tally.form): tally for tally in self.planted}[kind, form]


def merge_report(truth: pa.Table, ledger: pa.Table, published: pa.Table, clusters: pa.Table) -> MergeReport:
    """Compares a run with the truth.

    Args:
        truth: columns of demo.merge_world.TRUTH_SCHEMA.
        ledger, published: of the run; source, file, row, key, caption, and of the ledger reasons and detail.
        clusters: of the run's comparison of images: cluster, key.
    """
    fates = dict(_fates(ledger.to_pylist(), published.to_pylist()))
    rows = truth.to_pylist()
    images: dict[Image, list[tuple[Row, Fate]]] = defaultdict(list)
    for row in rows:
        images[row["source"], row["image"]].append((row, fates[row["source"], row["file"], row["row"]]))
    return MergeReport(
        planted=(*_test_images(images), *_test_ids(images), *_duplicates(images)),
        clean=_clean([pair for pairs in images.values() for pair in pairs if pair[0]["kind"] == "clean"]),
        mistaken=tuple(_mistaken(images)),
        test_image_sources=_test_image_sources(images),
        clusters=_cluster_sizes(images, clusters),
        translations=tuple(_translations(images)),
    )


def _fates(ledger: list[Row], published: list[Row]) -> Iterator[tuple[Place, Fate]]:
    for row in ledger:
        yield _place(row), Fate(row["key"], row["caption"], tuple(row["reasons"]), row["detail"] or "")
    for row in published:
        yield _place(row), Fate(row["key"], row["caption"], (), "")


def _place(row: Row) -> Place:
    return row["source"], PurePosixPath(row["file"]).name, row["row"]


def _of_kind(images: dict[Image, list[tuple[Row, Fate]]], kind: str) -> Iterator[tuple[Row, list[Fate]]]:
    """The images of one kind: truth of the first row, fates of all."""
    for pairs in images.values():
        if pairs[0][0]["kind"] == kind:
            yield pairs[0][0], [fate for _, fate in pairs]


def _test_images(images: dict[Image, list[tuple[Row, Fate]]]) -> list[Tally]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row, fates in _of_kind(images, "test image"):
        caught = all(fate.has(TEST_IMAGE) for fate in fates)
        named = all((match := NAMED.match(fate.detail)) and match[1] == row["match"] for fate in fates)
        counts[row["form"]] += Counter(planted=1, caught=caught, named=caught and named)
    return _tallies("test image", counts)


def _test_ids(images: dict[Image, list[tuple[Row, Fate]]]) -> list[Tally]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row, fates in _of_kind(images, "test id"):
        caught = all(fate.has(TEST_SET) for fate in fates)
        named = all(TEST_SET + row["match"] in fate.reasons for fate in fates)
        counts[row["match"]] += Counter(planted=1, caught=caught, named=named)
    return _tallies("test id", counts)


def _duplicates(images: dict[Image, list[tuple[Row, Fate]]]) -> list[Tally]:
    """Of each group one image may stay. A group's form is that of its copies; groups of more than two count by themselves."""
    groups: dict[str, list[tuple[Row, list[Fate]]]] = defaultdict(list)
    for row, fates in _of_kind(images, "duplicate"):
        groups[row["match"]].append((row, fates))
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for members in groups.values():
        form = GROUP if len(members) > 2 else max((row["form"] for row, _ in members), key=_is_copy)
        keys = {fate.key for _, fates in members for fate in fates}
        lost = [fates for _, fates in members if all(fate.has(COPIES) for fate in fates)]
        named = sum(all(_winner(fate) in keys for fate in fates) for fates in lost)
        most = len(members) - 1  # where all were lost, one fell to another picture: see `mistaken`
        counts[form] += Counter(planted=most, caught=min(most, len(lost)), named=min(most, named))
    return _tallies("duplicate", counts)


def _is_copy(form: str) -> bool:
    return form != "original"


def _winner(fate: Fate) -> str:
    """The key that a verdict of duplicates names: the last part of the detail, before distance and cosine."""
    return fate.detail.rpartition("; ")[2].partition(",")[0]


def _tallies(kind: str, counts: dict[str, Counter[str]]) -> list[Tally]:
    return [Tally(kind, form, n["planted"], n["caught"], n["named"]) for form, n in sorted(counts.items())]


def _clean(pairs: list[tuple[Row, Fate]]) -> Clean:
    late = ("score_too_low", TEST_IMAGE, *COPIES)
    return Clean(
        pairs=len(pairs),
        published=sum(fate.published for _, fate in pairs),
        low_score=sum(fate.has("score_too_low") for _, fate in pairs),
        by_rules=sum(not fate.published and not fate.has(late) for _, fate in pairs),
    )


def _mistaken(images: dict[Image, list[tuple[Row, Fate]]]) -> Iterator[str]:
    """Where a verdict names a test image, or a pair, that shows something else."""
    everything = [pair for pairs in images.values() for pair in pairs]
    group_of = {fate.key: _group(row) for row, fate in everything}
    said = {fate.key: f"{row['source']} {row['chinese']}" for row, fate in everything}
    for row, fate in (pairs[0] for pairs in images.values()):  # several captions of an image have one verdict
        test, winner = NAMED.match(fate.detail), _winner(fate)
        if test and (row["kind"], row["match"]) != ("test image", test[1]):
            yield f"{said[fate.key]} → test image {test[1]}"
        if fate.has(COPIES) and group_of[winner] != _group(row):
            yield f"{said[fate.key]} → {said[winner]}"


def _group(row: Row) -> str:
    """What the rows of one picture have in common."""
    return row["match"] if row["kind"] in ("test image", "duplicate") else f"{row['source']} {row['image']}"


def _test_image_sources(images: dict[Image, list[tuple[Row, Fate]]]) -> dict[str, tuple[str, ...]]:
    """From the ledger alone, whatever was planted."""
    sources_by_image: dict[str, list[str]] = defaultdict(list)
    for (source, _), pairs in images.items():
        names = {match[1] for _, fate in pairs if fate.has(TEST_IMAGE) and (match := NAMED.match(fate.detail))}
        for name in names:
            sources_by_image[name].append(source)
    return {name: tuple(sorted(sources)) for name, sources in sorted(sources_by_image.items())}


def _cluster_sizes(images: dict[Image, list[tuple[Row, Fate]]], clusters: pa.Table) -> dict[int, int]:
    """Clusters by the number of different images in them: several captions of an image count once."""
    image_of = {fate.key: image for image, pairs in images.items() for _, fate in pairs}
    members: dict[str, set[Image]] = defaultdict(set)
    for row in clusters.to_pylist():
        members[row["cluster"]].add(image_of[row["key"]])
    return dict(sorted(Counter(len(images_of_cluster) for images_of_cluster in members.values()).items()))


def _translations(images: dict[Image, list[tuple[Row, Fate]]]) -> Iterator[Translation]:
    pairs: Iterable[tuple[Row, Fate]] = (pair for image_pairs in images.values() for pair in image_pairs)
    for row, fate in pairs:
        if row["english"] and fate.published:
            yield Translation(row["source"], row["by"], row["english"], fate.caption or "", row["chinese"])
