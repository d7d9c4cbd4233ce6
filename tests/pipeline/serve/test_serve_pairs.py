"""The browser of pairs against counts of their own over the Parquet files."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pyarrow.parquet as pq
import pytest

from pipeline.run.outcomes import WAITING
from pipeline.serve.access import Access
from pipeline.serve.history import met_again
from pipeline.serve.listing import Position, ShardBlock, _find_in, find
from pipeline.serve.live_run import LiveRun
from pipeline.serve.pair import Pair
from pipeline.serve.runs import RunIndex
from pipeline.serve.search import BadSearch, Search, read_search
from pipeline.serve.segments import LEDGERS
from pipeline.serve.sql_child import SETTINGS
from tests.pipeline.serve.conftest import HOSTILE, served

CARD = re.compile(r'<li class="card">\s*<a href="/runs/[^/]+/pairs/([0-9a-f]{32})')


def rows(folder: Path, *names: str) -> list[dict[str, Any]]:
    """Rows of all Parquet files of some folders of a run, read without the service."""
    paths = [path for name in names for path in sorted((folder / name).glob("[0-9]*[0-9a-f].parquet"))]
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def ledger(folder: Path, *stages: str) -> list[dict[str, Any]]:
    return [row for row in rows(folder, *(f"ledger/{stage}" for stage in stages)) if row["key"]]


def get(address: str, path: str, **parameters: Any) -> str:
    return httpx.get(f"{address}{path}", params=parameters or None, timeout=30).raise_for_status().text


def walk(address: str, run: str, rel: str = "next", start: str = "", **parameters: Any) -> tuple[list[list[str]], str]:
    """The keys on each page from the first to the last, and the address of the last."""
    pages, link = [], start or f"{address}/runs/{run}/pairs?{httpx.QueryParams(parameters)}"
    while True:
        text = get(link, "")
        pages.append(CARD.findall(text))
        onward = re.search(rf'rel="{rel}" href="([^"]*)"', text)
        if not onward:
            return pages, link
        link = f"{address}/runs/{run}/pairs{html.unescape(onward[1])}"


def keys(pages: list[list[str]]) -> list[str]:
    return [key for page in pages for key in page]


def test_every_planned_and_dropped_pair_is_shown_once(address: str, shelf: Path) -> None:
    folder = shelf / "finished"
    planned = sorted(row["key"] for row in rows(folder, "plan"))
    files = sorted((folder / "ledger" / "filter").glob("[0-9]*.parquet"))
    dropped = [key for path in files for key in sorted(set(pq.read_table(path)["key"].drop_null().to_pylist()))]
    assert keys(walk(address, "finished")[0]) == planned + dropped


def test_paging_back_shows_the_same_pages(address: str) -> None:
    forward, last = walk(address, "finished", where="published")
    backward, _ = walk(address, "finished", rel="prev", start=last)
    assert len(forward) > 3
    assert keys(backward[::-1]) == keys(forward)


@pytest.mark.parametrize(
    ("where", "folders"),
    [
        ("published", ("dataset",)),
        ("rejected_by_rules", ("ledger/filter",)),
        ("not_fetched", ("ledger/download",)),
        ("not_selected", ("ledger/select",)),
        ("dropped", ("ledger/filter", "ledger/download", "ledger/score", "ledger/select")),
    ],
)
def test_places(address: str, shelf: Path, where: str, folders: tuple[str, ...]) -> None:
    expected = {row["key"] for row in rows(shelf / "finished", *folders)}
    assert expected
    assert set(keys(walk(address, "finished", where=where)[0])) == expected


def test_search_is_for_all_words_and_ignores_case(address: str, shelf: Path) -> None:
    folder = shelf / "finished"
    everything = rows(folder, "plan") + ledger(folder, "filter")
    for text in ("色", "X", "星 色", "【", "(", "%", "_", "\\"):
        words = [word.lower() for word in text.split()]
        expected = {row["key"] for row in everything if all(word in (row["caption"] or "").lower() for word in words)}
        assert set(keys(walk(address, "finished", q=text)[0])) == expected, text


def test_filters_by_source_score_reason_and_site(address: str, shelf: Path) -> None:
    folder = shelf / "merged"
    scores = {row["key"]: row["score"] for row in rows(folder, "score")}
    planned = rows(folder, "plan")
    near = {row["key"] for row in planned if row["source"] == "laion" and 0.2 <= scores[row["key"]] <= 0.4}
    assert near and set(keys(walk(address, "merged", source="laion", low=0.2, high=0.4)[0])) == near
    copies = {row["key"] for row in ledger(folder, "select") if "near_duplicate_image" in row["reasons"]}
    assert copies and set(keys(walk(address, "merged", reason="near_duplicate_image")[0])) == copies
    everything = planned + ledger(folder, "filter")
    web = {row["key"] for row in everything if urlsplit(row["url"] or "").hostname == "127.0.0.1"}
    assert web and set(keys(walk(address, "merged", domain="127.0.0.1")[0])) == web
    assert keys(walk(address, "merged", domain="0.0.1")[0]) == keys(walk(address, "merged", domain="127.0.0.1")[0])
    assert keys(walk(address, "merged", domain="27.0.0.1")[0]) == []  # not a part after a dot


def test_a_segment_holds_the_entries_of_its_outcome_alone(shelf: Path) -> None:
    """A stage may decide on several outcomes; all of them lie in its ledger."""
    import duckdb

    live_run, connection = LiveRun(shelf / "finished"), duckdb.connect()
    segment = LEDGERS["not_fetched"]
    shards = list(live_run.run.committed(segment.stage))
    search = Search(q="星")
    expected = sorted(row["key"] for row in ledger(shelf / "finished", "download") if "星" in row["caption"])
    for part, there in ((segment, expected), (replace(segment, outcome="rejected"), [])):
        positions = _find_in(connection, ShardBlock(live_run, part, shards), search, None, False, 10**6)
        assert sorted(position.key for position in positions) == there and expected


def test_counts(address: str, shelf: Path) -> None:
    planned = rows(shelf / "finished", "plan") + ledger(shelf / "finished", "filter")
    count = sum("星" in (row["caption"] or "") for row in planned)
    assert get(address, "/runs/finished/pairs/count", q="星") == f"{count:,} pairs"
    assert f"{len(planned):,} pairs" in get(address, "/runs/finished/pairs")


def test_cards_say_what_became_of_each_pair(address: str, shelf: Path) -> None:
    folder = shelf / "merged"
    dropped = {row["key"]: row for row in ledger(folder, "download", "score", "select")}
    for text in re.split(r'(?=<li class="card">)', get(address, "/runs/merged/pairs"))[1:]:
        key = CARD.findall(text)[0]
        state = re.findall(r'badge (\w+)"', text)[0]
        assert state == (dropped[key]["outcome"] if key in dropped else "published")
        assert re.findall(r"<code>(\w+)</code>", text) == (dropped[key]["reasons"] if key in dropped else [])


def test_all_that_is_known_of_a_pair(address: str, shelf: Path) -> None:
    folder = shelf / "merged"
    copy = next(row for row in ledger(folder, "select") if row["reasons"] == ["near_duplicate_image"])
    text = html.unescape(get(address, f"/runs/merged/pairs/{copy['key']}"))
    plan = next(row for row in rows(folder, "plan") if row["key"] == copy["key"])
    score = next(row for row in rows(folder, "score") if row["key"] == copy["key"])
    for value in (plan["caption"], plan["file"], plan["url"], score["image_hash"], f"{score['score']:.4f}"):
        assert value in text
    assert "near_duplicate_image" in text and f'/pairs/{copy["detail"][:32]}"' in text
    cluster = pq.read_table(next((folder / "dedup_images").glob("*.clusters.parquet"))).to_pylist()
    cluster_key = next(row["cluster"] for row in cluster if row["key"] == copy["key"])
    members = {row["key"] for row in cluster if row["cluster"] == cluster_key}
    assert set(re.findall(r'<a href="/runs/merged/pairs/(\w+)"[^>]*>\s*<span class="thumb">', text)) == members


def test_pairs_that_a_rule_dropped_and_pairs_met_twice(address: str, shelf: Path) -> None:
    folder = shelf / "finished"
    dropped = next(row for row in ledger(folder, "filter") if row["reasons"] == ["caption_too_long"])
    text = get(address, f"/runs/finished/pairs/{dropped['key']}")
    assert "caption_too_long" in text and "<h3>Filter captions</h3>" in text and "<h3>Publish</h3>" not in text
    again = next(row for row in ledger(folder, "filter") if "duplicate_pair" in row["reasons"])
    assert met_again(Pair(again["key"], entries=[again])) == []  # it was dropped itself
    assert met_again(Pair(again["key"], rows={"plan": again}, entries=[again])) == [again]
    assert httpx.get(f"{address}/runs/finished/pairs/{'0' * 32}").status_code == 404
    response = httpx.get(f"{address}/runs/finished/pairs", params={"q": again["key"]})
    assert response.headers["location"].endswith(again["key"])


def test_images_are_the_bytes_of_the_tar(address: str, shelf: Path) -> None:
    folder = shelf / "merged"
    for row in rows(folder, "dataset")[:5]:
        answer = httpx.get(f"{address}/runs/merged/images/{row['key']}.jpg")
        position = (folder / "dataset" / row["tar"]).read_bytes()[row["offset"] : row["offset"] + row["length"]]
        assert answer.content == position
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["x-content-type-options"] == "nosniff" and "max-age" in answer.headers["cache-control"]
    dropped = ledger(folder, "select")[0]["key"]
    assert httpx.get(f"{address}/runs/merged/images/{dropped}.jpg").content[:2] == b"\xff\xd8"
    unfetched = ledger(shelf / "finished", "download")[0]["key"]
    assert httpx.get(f"{address}/runs/finished/images/{unfetched}.jpg").status_code == 404


def test_only_tars_that_a_manifest_names_are_read(shelf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(shelf / "merged", folder)
    row = rows(folder, "dataset")[0]
    for stage, shard in (("publish", row["tar"][:6]), ("download", None)):
        for path in sorted((folder / stage).glob(f"{shard or '*'}.json")):
            manifest = json.loads(path.read_text(encoding="utf-8"))
            manifest["files"] = {name: about for name, about in manifest["files"].items() if not name.endswith(".tar")}
            path.write_text(json.dumps(manifest), encoding="utf-8")
    with served(folder, Access(loopback=True)) as address:
        assert (folder / "dataset" / row["tar"]).exists()
        assert httpx.get(f"{address}/runs/run/images/{row['key']}.jpg").status_code == 404


def test_a_tar_that_leads_out_of_the_run_is_not_read(shelf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(shelf / "merged", folder)
    row = rows(folder, "dataset")[0]
    tar = folder / "dataset" / row["tar"]
    tar.rename(tmp_path / "outside.tar")
    tar.symlink_to(tmp_path / "outside.tar")
    with served(folder, Access(loopback=True)) as address:
        assert httpx.get(f"{address}/runs/run/images/{row['key']}.jpg").status_code == 404


def test_hostile_captions_are_text(address: str, shelf: Path) -> None:
    text = get(address, "/runs/hostile/pairs")
    assert "<script>document" not in text and "<img src=x" not in text and "&lt;script&gt;" in text
    assert "{{ 7 * 7 }}" in text and len(text) < 200_000
    assert "\u202e反转" in text and text.count("<bdi") == text.count("</bdi>")
    for caption in (HOSTILE[0], HOSTILE[3], HOSTILE[4]):
        row = next(row for row in rows(shelf / "hostile", "plan") if row["caption"] == caption)
        text = get(address, f"/runs/hostile/pairs/{row['key']}")
        assert html.escape(caption, quote=False) in text.replace("&#34;", '"').replace("&#39;", "'")
        assert "<script>document" not in text and "<img src=x" not in text
        for link in re.findall(r'href="([^"]*)"', text):
            assert link.startswith(("/", "http://x.example/", "#")), link


def test_urls_of_the_web_alone_are_links(address: str, shelf: Path) -> None:
    for row in rows(shelf / "hostile", "plan")[:3]:
        text = get(address, f"/runs/hostile/pairs/{row['key']}")
        linked = re.findall(r'<a href="([^"]*)" rel="noreferrer noopener nofollow"', text)
        assert bool(linked) == row["url"].startswith("http")


def test_a_search_that_cannot_be_is_told(address: str) -> None:
    for name, value in {
        "low": "much",
        "high": "nan",
        "where": "there",
        "domain": "a b",
        "after": "x.1.2",
        "q": "长" * 201,
    }.items():
        answer = httpx.get(f"{address}/runs/finished/pairs", params={name: value})
        assert answer.status_code == 400 and "<h1>That cannot be asked</h1>" in answer.text, name
    with pytest.raises(BadSearch):
        read_search({"reason": "' or 1=1"})


def test_a_search_that_takes_too_long_goes_on_where_it_stopped(shelf: Path) -> None:
    import duckdb

    live_run, connection = LiveRun(shelf / "finished"), duckdb.connect()
    connection.execute(SETTINGS)
    search, positions, position, steps = Search(q="星"), list[Position](), None, 0
    while True:
        page = find(connection, live_run, search, position, budget=-1 if steps % 2 else 0.001)
        positions += page.positions
        steps += 1
        position = page.stopped or (page.positions[-1] if page.more else None)
        if position is None or steps > 500:
            break
        if steps % 2 == 0:  # a budget of less than nothing searches nothing, and says so
            assert not page.positions and page.stopped
    assert [str(position) for position in positions] == [
        str(position) for position in find(connection, live_run, search, size=10**6, budget=60).positions
    ]


def test_an_unfinished_run(address: str, shelf: Path) -> None:
    planned = sorted(row["key"] for row in rows(shelf / "planned", "plan"))
    assert keys(walk(address, "planned", where="waiting")[0]) == planned
    text = get(address, f"/runs/planned/pairs/{planned[0]}")
    assert "Still to do." in text and f'<span class="badge waiting">{WAITING.label}</span>' in text
    assert "0 of" in get(address, "/runs/planned")


def test_progress_is_live_and_cheap(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.serve.live_run.REFRESH_SECONDS", 0)
    folder = tmp_path / "run"
    shutil.copytree(shelf / "finished", folder)
    manifests = sorted((folder / "publish").glob("[0-9]*.json"))
    taken = manifests[-1].read_text(encoding="utf-8")
    manifests[-1].unlink()
    live_run = RunIndex(folder).get("run")
    assert not live_run.progress().complete
    manifests[-1].write_text(taken, encoding="utf-8")
    long_ago = time.time() - 60
    for stage in folder.iterdir():
        os.utime(stage, (long_ago, long_ago))  # changed so long ago that it is settled
    assert live_run.progress().complete
    state = live_run.progress().state
    (folder / "read").touch()  # as nothing changed, no manifest is read again
    before = dict(live_run.run.seen["publish"].manifests)
    assert live_run.progress().state != state
    assert all(live_run.run.committed("publish")[name] is manifest for name, manifest in before.items())
