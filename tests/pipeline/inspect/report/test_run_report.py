"""The report: every figure against a count of its own over the Parquet files, hostile captions, unfinished runs, a real browser."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser
from typer.testing import CliRunner

from pipeline.inspect.catalog import connect
from pipeline.inspect.readable import hours, share, size
from pipeline.inspect.report.diff import changes
from pipeline.inspect.report.figures import Figures, read_figures
from pipeline.inspect.report.gallery import galleries
from pipeline.inspect.report.notices import notices
from pipeline.inspect.report.page import short, thresholds
from pipeline.inspect.report.query import KeyRange
from pipeline.inspect.report.write import write_report
from pipeline.run.folder import Run
from pipeline.stages.opening import read_run
from zhclip.app import app

HOSTILE = [
    "<script>document.title='stolen'</script>一只猫",
    "\u202e反转\u202c的文字",
    "😀👩‍👩‍👧 表情",
    "很长" * 30_000,
    "</style><img src=x onerror=alert(1)>",
]


@pytest.fixture(scope="module", params=["finished", pytest.param("merged", marks=pytest.mark.e2e)])
def run(request: pytest.FixtureRequest) -> Run:
    example: Run = request.getfixturevalue(request.param)
    return example


@pytest.fixture(scope="module")
def figures(run: Run) -> Figures:
    with connect(run.folder) as connection:
        return read_figures(run, connection)


def files(run: Run, *folders: str) -> list[dict[str, Any]]:
    """Rows of all Parquet files of some folders, read without the catalog."""
    paths = [path for folder in folders for path in sorted((run.folder / folder).glob("[0-9]*[0-9a-f].parquet"))]
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def ledger(run: Run) -> list[dict[str, Any]]:
    folders = [f"ledger/{name}" for name in ("read", "filter", "download", "score", "select")]
    return files(run, *folders)


def test_the_funnel_adds_up_to_the_rows_in_the_files(run: Run, figures: Figures) -> None:
    published = Counter(row["source"] for row in files(run, "dataset"))
    lost: Counter[tuple[str, str]] = Counter()
    for row in ledger(run):
        stage = row["outcome"] if row["outcome"] == "out_of_scope" else row["stage"]
        lost[row["source"], stage] += row["rows"]
    names = {"not_selected": "select", "not_decoded": "score", "not_fetched": "download", "rejected_by_rules": "filter"}
    names |= {"unreadable": "read", "out_of_scope": "out_of_scope"}
    for row in figures["funnel"]:
        assert row["published"] == published[row["source"]]
        assert {name: row[name] for name in names} == {
            name: lost[row["source"], stage] for name, stage in names.items()
        }
        assert row["waiting"] == 0 and row["read"] == row["published"] + sum(row[name] for name in names)
    assert figures.published == sum(published.values()) and figures.complete


def test_reasons_and_their_combinations(run: Run, figures: Figures) -> None:
    pairs: Counter[str] = Counter()
    only: Counter[str] = Counter()
    together: Counter[tuple[str, ...]] = Counter()
    for row in ledger(run):
        if row["outcome"] != "out_of_scope":
            pairs.update(dict.fromkeys(row["reasons"], row["rows"]))
            together[tuple(sorted(row["reasons"]))] += row["rows"]
            if len(row["reasons"]) == 1:
                only[row["reasons"][0]] += row["rows"]
    assert {name: (count, alone) for name, (_, count, alone) in figures.reason_totals.items()} == {
        name: (count, only[name]) for name, count in pairs.items()
    }
    largest = sorted(together.items(), key=lambda item: (-item[1], item[0]))[: len(figures["combinations"])]
    assert [(tuple(row["reasons"]), row["pairs"]) for row in figures["combinations"]] == largest


def test_scores_and_what_thresholds_would_keep(run: Run, figures: Figures) -> None:
    decisions = files(run, "select")
    for source in figures.scored:
        scores = [row["score"] for row in decisions if row["source"] == source]
        bins = Counter(math.floor(round(score * 100, 3)) for score in scores)
        assert {row["bin"]: row["pairs"] for row in figures.scored[source]} == bins
        assert sum(row["kept"] for row in figures.scored[source]) == sum(
            row["keep"] for row in decisions if row["source"] == source
        )
        for row in thresholds(figures):
            passing = sum(round(score, 5) >= row["threshold"] for score in scores)
            assert row["shares"][source] == pytest.approx(passing / len(scores))


def test_captions_sizes_domains_clusters_and_models(run: Run, figures: Figures) -> None:
    kept = Counter(min(len(row["caption"]), 61) for row in files(run, "dataset"))
    assert {row["characters"]: row["pairs"] for row in figures["lengths"] if row["side"] == "kept"} == kept
    dropped = Counter(min(len(row["caption"]), 61) for row in ledger(run) if row["caption"] is not None)
    assert {row["characters"]: row["pairs"] for row in figures["lengths"] if row["side"] == "dropped"} == dropped
    fetched = [row for row in files(run, "download") if row["status"] == "ok"]
    assert (
        sum(row["pairs"] for row in figures["sizes"]) == sum(row["pairs"] for row in figures["aspects"]) == len(fetched)
    )
    shorter = Counter(
        min(2048, max(64, 2 ** int(math.log2(min(row["original_width"], row["original_height"]))))) for row in fetched
    )
    assert {row["side"]: row["pairs"] for row in figures["sizes"]} == shorter

    def host(row: dict[str, Any]) -> str | None:
        match = re.match(r"https?://([^/:?#]+)", row["url"] or "", re.IGNORECASE)
        return match and match[1].lower()

    assert {row["domain"]: row["planned"] for row in figures["domains"] if row["planned"]} == {
        name: count for name, count in Counter(map(host, files(run, "plan"))).items() if name
    }
    clusters = [
        row for path in run.folder.glob("dedup_images/*.clusters.parquet") for row in pq.read_table(path).to_pylist()
    ]
    members = Counter(row["cluster"] for row in clusters)
    assert {row["size"]: row["clusters"] for row in figures["clusters"]} == Counter(
        min(n, 10) for n in members.values()
    )
    assert sum(row["pairs"] for row in figures["models"]) == len(files(run, "score"))
    taken_out = [
        reason for row in ledger(run) for reason in row["reasons"] if reason.startswith(("test_image_", "test_set_"))
    ]
    assert sum(row["pairs"] for row in figures["contamination"]) == len(taken_out)


def test_times_are_those_that_were_noted(run: Run, figures: Figures) -> None:
    for row in figures["throughput"]:
        noted = {line["shard"]: line for line in run.times(row["stage"])}.values()
        assert row["worker_seconds"] == pytest.approx(sum(line["ended"] - line["began"] for line in noted), abs=0.01)
        assert row["shards"] == len(noted) == len(run.manifests(row["stage"]))


def test_galleries_show_what_they_say(run: Run, figures: Figures) -> None:
    with connect(run.folder) as connection:
        made = galleries(run, connection, figures, seed=1, shown=6)
        again = galleries(run, connection, figures, seed=1, shown=6)
    assert made == again
    published = {row["key"]: row for row in files(run, "dataset")}
    dropped = {row["key"]: row for row in ledger(run)}
    thresholds_of = {name: source.min_score for name, source in run.recipe.sources.items()}
    for gallery in made:
        assert 0 < len(gallery.cards) <= min(6, gallery.pairs)
        for card in gallery.cards:
            if gallery.title == "Kept":
                assert published[card.key]["caption"] == card.caption and card.picture
            elif gallery.title.startswith("Dropped: "):
                assert gallery.title.removeprefix("Dropped: ") in dropped[card.key]["reasons"]
            else:
                side = 1 if "above" in gallery.title else -1
                limit = thresholds_of[card.source]
                assert (
                    limit is not None and card.score is not None and 0 <= side * (card.score - limit) + 1e-6 <= 0.020001
                )


@pytest.mark.slow
def test_a_report_stands_alone_and_is_the_same_twice(run: Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert write_report(run.folder, tmp_path / name) < 15 * 2**20
    text = (tmp_path / "one").read_text(encoding="utf-8")
    assert text == (tmp_path / "two").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["']?(?!["']|data:|#)""", text.split("<pre>")[0])
    assert "<script" not in text and "url(" not in text.split("</style>")[0]


def test_against_itself_nothing_changes(figures: Figures) -> None:
    assert all(change.here == change.there and change.points == 0 for change in changes(figures, figures))


@pytest.fixture(scope="module")
def damaged(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A copy whose published captions are hostile; the figures do not care for hashes, which `verify` checks."""
    folder = tmp_path_factory.mktemp("hostile") / "run"
    shutil.copytree(finished.folder, folder)
    for path in [*folder.glob("dataset/*.parquet"), *folder.glob("ledger/*/*.parquet")]:
        table = pq.read_table(path)
        captions = pa.array([HOSTILE[row % len(HOSTILE)] for row in range(table.num_rows)], pa.string())
        index = table.schema.get_field_index("caption")
        pq.write_table(table.set_column(index, table.schema.field(index), captions), path)
    return read_run(folder)


@pytest.fixture(scope="module")
def pages(damaged: Run, merged: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    write_report(damaged.folder, folder / "hostile.html")
    write_report(merged.folder, folder / "merged.html", against=damaged.folder, prices={"download": 0.5})
    return {path.stem: path for path in folder.iterdir()}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["hostile", "merged"])
def test_in_a_browser(chromium: Browser, pages: dict[str, Path], name: str, width: int, scheme: Any) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on(
        "request", lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else None
    )
    page.goto(pages[name].as_uri())
    assert page.title() == {"hostile": "zhclip-demo", "merged": "zhclip-demo-merge"}[name] + ": curation report"
    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    broken = "[...document.images].filter(image => !image.complete || !image.naturalWidth).length"
    assert page.evaluate("document.images.length") > 20 and page.evaluate(broken) == 0
    assert page.locator("figure.wide" if width > 640 else "figure.narrow").first.is_visible()
    assert (
        contrast(
            *page.evaluate("(({color, backgroundColor}) => [color, backgroundColor])(getComputedStyle(document.body))")
        )
        > 7
    )
    context.close()


def contrast(*colours: str) -> float:
    """WCAG 2.2 contrast of two rgb() colours."""

    def light(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    darker, lighter = sorted(map(light, colours))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.fixture
def planned(finished: Run, tmp_path: Path) -> Iterator[Run]:
    """A run that was stopped when its plan was done."""
    folder = tmp_path / "run"
    shutil.copytree(
        finished.folder, folder, ignore=shutil.ignore_patterns("download", "score", "select", "dataset", "catalog*")
    )
    for name in ("download", "score", "select"):
        shutil.rmtree(folder / "ledger" / name, ignore_errors=True)
    yield read_run(folder)


def test_an_unfinished_run_says_so(planned: Run, tmp_path: Path) -> None:
    write_report(planned.folder, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "The run is not finished" in text and "Still to do" in text and "Scores and thresholds" not in text


def test_a_run_of_which_nothing_is_kept(finished: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    sets = [f"--set=sources.{name}.min_score=0.99" for name in ("laion", "wukong")]
    for stage in ("select", "publish"):
        recipe = folder / "recipe.yaml"
        copied = tmp_path / f"{stage}.yaml"
        copied.write_text(recipe.read_text(encoding="utf-8"), encoding="utf-8")
        done = CliRunner().invoke(app, [stage, str(copied), "--run", str(folder), *sets])
        assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["report", str(folder), "--against", str(finished.folder)])
    assert done.exit_code == 0, done.output
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "score_too_low" in text and "Kept <span" not in text
    with connect(folder) as connection:
        assert any("score_too_low" in notice.text for notice in notices(read_figures(read_run(folder), connection)))


def test_only_images_that_the_download_had_are_counted_as_tried(figures: Figures) -> None:
    """Not those that an added stage lost before it, nor those that it has yet to fetch."""
    stages = [row for row in figures["stage_funnel"] if row["stage"] != "download"]
    assert {row["stage"] for row in figures["stage_funnel"]} >= {"read", "filter", "download", "score"}
    answers = {**figures.answers, "stage_funnel": [*stages, {"stage": "download", "rows_in": 20, "failed": 15}]}
    texts = [notice.text for notice in notices(replace(figures, answers=answers), limit=20)]
    assert any(text.startswith("15 of 20 images could not be fetched (75.0%).") for text in texts)


def test_a_folder_that_is_no_run_and_a_price_for_no_stage(tmp_path: Path, finished: Run) -> None:
    assert CliRunner().invoke(app, ["report", str(tmp_path)]).exit_code == 2
    for price in ("download=cheap", "shipping=3"):
        assert CliRunner().invoke(app, ["report", str(finished.folder), "--price", price]).exit_code == 2


def test_a_key_range_is_a_sample_of_about_the_size_asked_for() -> None:
    import hashlib

    keys = [hashlib.md5(str(number).encode()).hexdigest() for number in range(20_000)]
    for seed in range(5):
        part = KeyRange.holding(1000, len(keys), seed)
        assert 850 < sum(part.first <= key <= part.last for key in keys) < 1150
    everything = KeyRange.holding(10, 5, 0)
    assert all(everything.first <= key <= everything.last for key in [*keys, "0" * 32, "f" * 32])


def test_numbers_for_people() -> None:
    assert [share(part, 1000) for part in (0, 0.1, 123, 999.9, 1000)] == ["0.0%", "<0.1%", "12.3%", ">99.9%", "100.0%"]
    assert share(1, 0) == "–"
    assert [hours(None), hours(2.34), hours(59), hours(200), hours(18_720)] == [
        "not noted",
        "2.3 s",
        "59 s",
        "3 min 20 s",
        "5 h 12 min",
    ]
    assert [size(0), size(1536), size(300 * 2**20)] == ["0 B", "1.5 KiB", "300 MiB"]
    assert short("字" * 400).endswith("… (400 characters)") and len(short("字" * 400)) < 330
    assert json.loads(json.dumps(short(None))) == ""
