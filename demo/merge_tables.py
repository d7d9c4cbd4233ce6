"""The report on a merged run as tables for a terminal of 80 columns, short enough for one screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from demo.merge_report import COPIES, GROUP, TEST_IMAGE, TEST_SET, MergeReport, Tally, Translation
from demo.scenes import FORMS
from foundation.text import counted

SHOWN = 6  # translations
COLUMNS = ("read", "rules", "test id", "test image", "copy", "low score", "published")


def render(report: MergeReport, ledger: pa.Table, published: pa.Table) -> RenderableType:
    """Rows of each source, what was planted, what was found, and some translations."""
    return Group(_sources(ledger, published), _planted(report), _findings(report), _translations(report.translations))


def _sources(ledger: pa.Table, published: pa.Table) -> Table:
    """Each dropped row under the first of its reasons in the order of COLUMNS."""
    counts: dict[str, Counter[str]] = {}
    for row in ledger.to_pylist():
        counts.setdefault(row["source"], Counter())[_column(row["reasons"])] += max(1, row["rows"])
    for row in published.to_pylist():
        counts.setdefault(row["source"], Counter())["published"] += 1
    table = Table(title="Rows of each source", **_STYLE)  # type: ignore[arg-type]
    table.add_column("")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for source, columns in sorted(counts.items()):
        columns["read"] = columns.total()
        table.add_row(source, *(str(columns[name] or "–") for name in COLUMNS))
    return table


def _column(reasons: Iterable[str]) -> str:
    codes = tuple(reasons)
    for name, prefixes in (("test id", (TEST_SET,)), ("test image", (TEST_IMAGE,)), ("copy", COPIES)):
        if any(reason.startswith(prefixes) for reason in codes):
            return name
    return "low score" if "score_too_low" in codes else "rules"


def _planted(report: MergeReport) -> Table:
    """Caught of planted images: kinds down, forms across. Those listed by id have no form."""
    known = {(tally.kind, tally.form): tally for tally in report.planted}
    forms = [form for form in (*FORMS, GROUP) if any(form == tally.form for tally in report.planted)]
    table = Table(title="Copies: images caught, of those planted", **_STYLE)  # type: ignore[arg-type]
    for name in ("", *forms):
        table.add_column(name, justify="right" if name else "left")
    for kind in ("test image", "duplicate"):
        table.add_row(kind, *(_cell(known.get((kind, form))) for form in forms))
    return table


def _cell(tally: Tally | None) -> Text:
    if tally is None:
        return Text("–")
    wrongly = f", {tally.caught - tally.named} misnamed" if tally.named < tally.caught else ""
    sound = not tally.missed and not wrongly
    return Text(f"{tally.caught} of {tally.planted}{wrongly}", style="green" if sound else "yellow")


def _findings(report: MergeReport) -> Text:
    clean, text = report.clean, Text()
    listed = (f"{tally.form} {tally.caught} of {tally.planted}" for tally in report.planted if tally.kind == "test id")
    text.append(f"Test images by id: {', '.join(listed)}\n")
    places: dict[tuple[str, ...], list[str]] = {}
    for name, sources in report.test_image_sources.items():
        places.setdefault(tuple(sorted(set(sources))), []).append(name)
    text.append(f"Test images that the sources showed ({len(report.test_image_sources)}):\n")
    for sources, names in sorted(places.items(), key=lambda item: (-len(item[1]), item[0])):
        text.append(f"  {' and '.join(sources)}: {' '.join(names)}\n", style="green")
    sizes = ", ".join(f"{clusters} of {counted(size, 'image')}" for size, clusters in report.clusters.items())
    text.append(f"Clusters of one picture: {sizes}\n")
    wrong = "; ".join(report.mistaken) or "none"
    text.append(f"Taken for a copy of another picture: {wrong}\n", style="yellow" if report.mistaken else "green")
    text.append(
        f"Clean pairs: {clean.published} of {clean.pairs} kept; {clean.low_score} under the score threshold, "
        f"{clean.by_rules} to rules\n"
    )
    return text


def _translations(translations: tuple[Translation, ...]) -> Table:
    """From the file and from the model in turn, one wrong one of the model among them where there is any."""
    model = [translation for translation in translations if translation.by == "model"]
    exact = sum(translation.chinese == translation.meant for translation in model)
    title = f"Translated captions; {exact} of the model's {len(model)} are exactly what was meant"
    table = Table(title=title, **_STYLE)  # type: ignore[arg-type]
    for name in ("source", "by", "English", "Chinese"):
        table.add_column(name, overflow="fold")
    wrong = [translation for translation in model if translation.chinese != translation.meant][:1]
    right = [translation for translation in model if translation.chinese == translation.meant]
    half = SHOWN // 2
    files = [translation for translation in translations if translation.by == "file"]
    for translation in [*_varied(files, half), *_varied(right, half), *wrong]:
        meant = "" if translation.chinese == translation.meant else f"  [yellow](meant: {translation.meant})[/]"
        table.add_row(translation.source, translation.by, translation.english, translation.chinese + meant)
    return table


def _varied(translations: list[Translation], count: int) -> list[Translation]:
    """Some of each source, short ones first to last."""
    sources = sorted({translation.source for translation in translations})
    short = [translation for translation in translations if len(translation.english) < 60]
    each = -(-count // max(1, len(sources)))
    chosen = [[translation for translation in short if translation.source == source][:each] for source in sources]
    return [translation for of_source in chosen for translation in of_source][:count]


_STYLE = {
    "title_justify": "left",
    "title_style": "bold",
    "header_style": "bold",
    "box": SIMPLE_HEAD,
    "padding": (0, 1, 0, 0),
}
