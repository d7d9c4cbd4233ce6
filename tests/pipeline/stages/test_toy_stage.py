"""A stage is one module and one line in the registry: a toy is added to a copy of the packages and then stands everywhere."""

from __future__ import annotations

import csv
import http.server
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from tests.support.packages import Packages
from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.e2e

PAIRS = 40
SCORED = "EvalImages()"  # the stage after that of scores
TOY = '''
"""Toy: rejects pairs whose caption ends with an odd digit."""

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.run.ledger import entries, tally
from pipeline.run.outcomes import REJECTED, Outcome
from pipeline.stages.base import Stage, handed_on
from pipeline.stages.plan import plan_shards


class Toy(Stage):
    name = "toy"
    command = "toy"
    label = "toy rule"
    summary = "Rejects captions that end with an odd digit."
    cheap = True
    per_plan_shard = True
    outcomes = (Outcome("played", "rejected by the toy", REJECTED, "Pairs that the toy rejects."),)
    reasons = {"odd_digit": "the caption ends with an odd digit"}

    def inputs(self, recipe):
        return {"toy": 1}

    def shards(self, run):
        return plan_shards(run)

    def make(self, attempt, item):
        planned = attempt.run.table("plan", item.name)
        pairs = handed_on(attempt.run, item.name, planned, "plan", self.name)
        lost = pairs.filter(pc.match_substring_regex(pairs["caption"], "[13579]$"))
        attempt.ledger(entries(lost, self.name, REJECTED, [["odd_digit"]] * lost.num_rows))
        attempt.commit(tally(pairs, lost, REJECTED))
'''


@dataclass(frozen=True)
class Toyed:
    """A copy of the packages with the toy in it, and a run of it."""

    packages: Packages
    run: Path

    def zhclip(self, *words: str) -> str:
        return self.packages.zhclip(*words)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of PAIRS different images."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(PAIRS):
        pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        buffer = BytesIO()
        Image.fromarray(pixels).resize((96, 96)).save(buffer, "JPEG")
        (folder / f"{number}.jpg").write_bytes(buffer.getvalue())

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def toyed(images: str, tmp_path_factory: pytest.TempPathFactory) -> Toyed:
    """The toy stands on scored pairs."""
    return curated_with_the_toy(SCORED, images, tmp_path_factory.mktemp("toy"))


def curated_with_the_toy(before: str, images: str, folder: Path) -> Toyed:
    """A run in which the toy stands in front of another stage, named by its line in the registry."""
    packages = Packages.copied_to(folder / "packages")
    (packages.folder / "pipeline" / "stages" / "toy.py").write_text(TOY, encoding="utf-8")
    packages.add_line("pipeline/stages/registry.py", before, "Toy(),")
    packages.add_line("pipeline/stages/registry.py", "STAGES: dict", "from pipeline.stages.toy import Toy\n\n")
    rows = "".join(f"http://{images}/{number}.jpg,一张测试用的图片{number}\n" for number in range(PAIRS))
    (folder / "pairs.csv").write_text(f"url,caption\n{rows}", encoding="utf-8")
    model = REPOSITORY / "demo" / "mclip-tiny"
    recipe = {
        "sources": {
            "table": {
                "kind": "table",
                "files": [str(folder / "pairs.csv")],
                "min_score": None,
                "rules": {"url": {"allow_hosts": [images]}},
            }
        },
        "plan": {"shard_size": 15},
        "download": {"allow_hosts": [images], "image_size": 64},
        "score": {"text_model": str(model / "text"), "image_model": str(model / "image"), "max_tokens": 80},
        "images": {"duplicates": {}},
        "publish": {"pairs_per_shard": 7},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
    toyed = Toyed(packages, folder / "runs" / "run")
    toyed.zhclip("curate", str(folder / "recipe.yaml"), "--run", str(toyed.run), "--json")
    return toyed


@pytest.fixture(params=["Download()", SCORED, "Publish()"])
def anywhere(request: pytest.FixtureRequest, images: str, tmp_path: Path) -> Toyed:
    """The toy stands on planned, scored or selected pairs."""
    if request.param == SCORED:
        return request.getfixturevalue("toyed")  # type: ignore[no-any-return]
    return curated_with_the_toy(request.param, images, tmp_path)


def test_it_rejects_and_every_row_is_accounted_for(anywhere: Toyed) -> None:
    status = json.loads(anywhere.zhclip("status", str(anywhere.run), "--json"))
    (source,) = status["sources"]
    assert (source["read"], source["played"], source["waiting"]) == (PAIRS, PAIRS // 2, 0)
    published = [row for path in anywhere.run.glob("dataset/*.parquet") for row in pq.read_table(path).to_pylist()]
    assert len(published) == source["published"] > 0
    assert all(int(row["caption"][-1]) % 2 == 0 for row in published)
    assert {"stage": "toy", "done": 3, "expected": 3} in status["stages"]
    (reason,) = [row for row in status["reasons"] if row["stage"] == "toy"]
    assert (reason["reason"], reason["pairs"]) == ("odd_digit", PAIRS // 2)


def test_its_rows_are_in_the_catalog(toyed: Toyed) -> None:
    for query, answer in (
        ("select label, rows from outcomes where outcome = 'played'", ["rejected by the toy", PAIRS // 2]),
        ("select any_value(reason), count(*) from reasons where stage = 'toy'", ["odd_digit", PAIRS // 2]),
        ("select stage, rejected from funnel where stage = 'toy'", ["toy", PAIRS // 2]),
        ("select command, count(*) from shards where stage = 'toy' group by all", ["toy", 3]),
    ):
        rows = csv.reader(toyed.zhclip("sql", str(toyed.run), query, "--csv").splitlines()[1:])
        assert list(rows) == [list(map(str, answer))]


def test_it_is_verified(toyed: Toyed, tmp_path: Path) -> None:
    assert "rejected by the toy" in toyed.zhclip("status", str(toyed.run))
    assert "everything holds" in toyed.zhclip("verify", str(toyed.run))
    copy = tmp_path / "run"
    shutil.copytree(toyed.run, copy)
    (ledger,) = (copy / "ledger" / "toy").glob("000001-*.parquet")
    ledger.write_bytes(ledger.read_bytes()[:-1])
    done = toyed.packages.command("verify", str(copy))
    assert done.returncode == 1 and f"ledger/toy/{ledger.name}" in done.stdout


def test_it_has_a_digest_a_command_and_stands_in_the_report(toyed: Toyed) -> None:
    assert re.search(r"^#   toy: [0-9a-f]{16}$", (toyed.run / "recipe.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    assert "Rejects captions that end with an odd digit." in " ".join(toyed.zhclip("toy", "--help").split())
    toyed.zhclip("report", str(toyed.run))
    page = (toyed.run / "report.html").read_text(encoding="utf-8")
    assert "Rejected by the toy" in page and "odd_digit" in page


def test_lint_holds_and_what_is_written_for_others_names_it(toyed: Toyed) -> None:
    """Nothing but its module and its line in the registry is needed; the stage behind it may not be imported by it."""
    folder = toyed.packages.folder
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    for name in ("tools", "demo", "benchmarks"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("*-tiny", "__pycache__"))
    lint = (
        "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command(['--no-cache']))"
    )
    done = toyed.packages.python(lint)
    assert done.returncode == 0 and "0 broken" in done.stdout, done.stdout + done.stderr
    written = toyed.packages.python("from tools.docs import generated; print(*generated().values())").stdout
    assert '"score", "toy", "select"' in written and "| `odd_digit` | the caption ends with an odd digit |" in written


def test_the_web_service_shows_its_rows(toyed: Toyed) -> None:
    command = [sys.executable, "-m", "zhclip", "serve", str(toyed.run.parent), "--port", "0"]
    packages = toyed.packages
    with subprocess.Popen(
        command, cwd=packages.folder, env=packages.environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr
            address = next(match[0] for line in process.stderr if (match := re.search(r"http://[\w.:]+", line)))
            run = urlopen(f"{address}/runs/run").read().decode()
            pairs = urlopen(f"{address}/runs/run/pairs?where=played").read().decode()
            (key, *_) = re.findall(r"/runs/run/pairs/([0-9a-f]{32})", pairs)
            pair = urlopen(f"{address}/runs/run/pairs/{key}").read().decode()
        finally:
            process.send_signal(signal.SIGINT)
    assert "rejected by the toy" in run and "where=played" in run
    assert "odd_digit" in pairs and "一张测试用的图片1" in pairs and "一张测试用的图片2<" not in pairs
    *before, last = re.findall(r'<li class="(\w+)"><h3>(.+?)</h3>', pair)
    assert last == ("dropped", "Toy rule") and before[-1] == ("done", "Score") and "Rejected by the toy." in pair
