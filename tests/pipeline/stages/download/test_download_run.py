"""Runs whose shards run out of time or have a url that kills the downloader: both end in the ledger, and the run goes on."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Run, curate, failed_downloads, retry, verify
from pipeline.inspect.funnel import query_ledger
from pipeline.run.keys import pair_keys
from pipeline.stages.base import TooMuchFailed
from tests.pipeline.stages.download.shards import DEADLY, DIES_OF_DEADLY, HANGING, photo, use_child
from tests.support.loopback import Answer, Web
from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.e2e


def paths_in_key_order(web: Web, number: int) -> list[str]:
    """Paths of a server, in the order in which their rows are downloaded."""
    paths = [f"/{row}.jpg" for row in range(number)]
    rows = {
        "source": ["shop"] * number,
        "url": [web.put(path, Answer(photo(row))) for row, path in enumerate(paths)],
        "caption": list(map(caption_of, range(number))),
    }
    return [path for _, path in sorted(zip(pair_keys(pa.table(rows)).to_pylist(), paths, strict=True))]


def caption_of(row: int) -> str:
    return f"第{row}张漂亮的图画"


def recipe_of(web: Web, folder: Path, number: int, **download: object) -> Path:
    """A recipe of these rows; whatever their score, all are published."""
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["url", "caption"])
        rows.writerows([f"http://{web.host}/{row}.jpg", caption_of(row)] for row in range(number))
    scorer = REPOSITORY / "demo" / "mclip-tiny"
    source = {"kind": "table", "files": [str(folder / "pairs.csv")], "min_score": None}
    source |= {"rules": {"url": {"allow_hosts": [web.host]}}}
    recipe = {
        "name": "shop",
        "sources": {"shop": source},
        "download": {"allow_hosts": [web.host], "threads": 2, **download},
        "score": {"text_model": str(scorer / "text"), "image_model": str(scorer / "image"), "max_tokens": 80},
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    return folder / "recipe.yaml"


def downloads_lost(run: Run) -> Counter[str]:
    """Reason → urls, of the download's ledger."""
    rows = query_ledger(run, "select url, reasons from ledger where stage = 'download'").to_pylist()
    return Counter(reason for row in rows for reason in row["reasons"])


def published(run: Run) -> int:
    return sum(manifest.counts["out"] for manifest in run.manifests("publish"))


def hits(web: Web, paths: Sequence[str]) -> int:
    return sum(web.hits[path] for path in paths)


def test_a_shard_out_of_time_publishes_what_came_and_a_retry_gets_the_rest(web: Web, tmp_path: Path) -> None:
    paths = paths_in_key_order(web, 60)
    good, hung = paths[:40], paths[40:]
    for path in hung:
        web.put(path, Answer(delay=HANGING))
    recipe = recipe_of(web, tmp_path, 60, shard_deadline=5, timeout=HANGING, deadline=HANGING)
    run = curate(recipe, tmp_path / "run", workers=1)
    assert downloads_lost(run) == {"shard_deadline": 20} and published(run) == 40
    assert hits(web, good) == 40 and hits(web, hung) == 2  # those of the two threads, once
    assert verify(run).problems == []

    for path in hung:
        web.put(path, Answer(photo(int(path[1:].partition(".")[0]))))
    failed = failed_downloads(run)
    assert failed.reasons == {"shard_deadline": 20}
    assert retry(run, failed, workers=1) == 20
    assert not downloads_lost(run) and published(run) == 60
    assert hits(web, good) == 40 and hits(web, hung) == 22
    assert verify(run).problems == []


def test_a_url_that_kills_the_downloader_is_in_the_ledger_and_the_run_goes_on(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_child(monkeypatch, DIES_OF_DEADLY)
    paths = paths_in_key_order(web, 10)
    web.put(paths[4], Answer(DEADLY))
    run = curate(recipe_of(web, tmp_path, 10), tmp_path / "run", workers=1)
    assert downloads_lost(run) == {"downloader_died": 1} and published(run) == 9
    assert verify(run).problems == []


def test_a_url_that_is_no_text_is_in_the_ledger_as_text(web: Web, tmp_path: Path) -> None:
    paths = paths_in_key_order(web, 5)
    recipe = recipe_of(web, tmp_path, 5)
    urls = [f"http://{web.host}{path}".encode() for path in paths[1:]] + [b"http://a.example/\xc3\x28.jpg"]
    texts = pa.array(urls, pa.binary()).view(pa.string())  # as readers of Parquet take them: unchecked
    pq.write_table(pa.table({"url": texts, "caption": list(map(caption_of, range(5)))}), tmp_path / "pairs.parquet")
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("pairs.csv", "pairs.parquet"), encoding="utf-8")
    run = curate(recipe, tmp_path / "run", workers=1)
    (lost,) = query_ledger(run, "select url, reasons, detail from ledger").to_pylist()
    assert lost == {"url": "http://a.example/\ufffd(.jpg", "reasons": ["url_malformed"], "detail": "not UTF-8"}
    assert published(run) == 4 and verify(run).problems == []


def test_a_machine_that_kills_every_downloader_stops_the_run(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_child(monkeypatch, "engine.resize = lambda *_: os.kill(os.getpid(), signal.SIGKILL) if sys.argv else None")
    paths_in_key_order(web, 5)
    recipe = recipe_of(web, tmp_path, 5)
    with pytest.raises(TooMuchFailed, match=r"5 of 5 downloads failed.*retry"):
        curate(recipe, tmp_path / "run", workers=1)
