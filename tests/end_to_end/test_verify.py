"""`zhclip verify` on a sound run, and on the same run damaged in every way that matters."""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.inspect.verify import verify_run
from pipeline.run.folder import Run
from pipeline.stages.opening import read_run
from tests.support.paths import file_of, ledger_of

pytestmark = pytest.mark.e2e

QUIET = Console(file=io.StringIO())


@pytest.fixture
def copy(finished: Run, tmp_path: Path) -> Run:
    shutil.copytree(finished.folder, tmp_path / "run")
    return read_run(tmp_path / "run")


def problems(run: Run) -> str:
    return "\n".join(verify_run(run, QUIET).problems)


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))


def test_a_sound_run_verifies(finished: Run) -> None:
    report = verify_run(finished, QUIET)
    assert report.problems == []
    assert report.checked["published pairs"] > 100
    assert report.checked["files"] > 20


def test_a_flipped_byte_of_an_image_is_traced_to_its_key(copy: Run) -> None:
    row = pq.read_table(file_of(copy, "publish", "000001")).slice(7, 1).to_pylist()[0]
    flip(file_of(copy, "publish", "000001", ".tar"), row["offset"] + 100)
    complaints = problems(copy)
    assert "dataset/000001.tar: damaged" in complaints
    assert f"the image of pair {row['key']} is damaged" in complaints


def test_a_flipped_byte_of_a_caption_is_traced_to_its_key(copy: Run) -> None:
    path = file_of(copy, "publish", "000000", ".tar")
    with tarfile.open(path) as tar:
        member = [entry for entry in tar if entry.name.endswith(".txt")][3]
    flip(path, member.offset_data + 1)
    assert f"the members of pair {member.name.removesuffix('.txt')} do not say what the index says" in problems(copy)


def test_a_truncated_tar_is_named_with_the_keys_it_lost(copy: Run) -> None:
    path = file_of(copy, "publish", "000001", ".tar")
    path.write_bytes(path.read_bytes()[:-20_000])
    last = pq.read_table(file_of(copy, "publish", "000001"))["key"][-1].as_py()
    complaints = problems(copy)
    assert "dataset/000001.tar" in complaints
    assert last in complaints


DAMAGE: dict[str, tuple[Callable[[Run], object], str]] = {
    "missing published shard": (
        lambda run: [file_of(run, "publish", "000001", f".{ending}").unlink() for ending in ("tar", "parquet", "json")],
        "publish/000001: missing shard",
    ),
    "missing published tar": (
        lambda run: file_of(run, "publish", "000001", ".tar").unlink(),
        "dataset/000001.tar: the file is missing",
    ),
    "missing raw shard": (
        lambda run: [
            file_of(run, "download", "000000", f".{ending}").unlink() for ending in ("tar", "parquet", "json")
        ],
        "download/000000: missing shard",
    ),
    "missing scores": (
        lambda run: file_of(run, "score", "000001").unlink(),
        r"score/000001-\w+.parquet: the file is missing",
    ),
    "removed ledger file": (
        lambda run: ledger_of(run, "download", "000000").unlink(),
        r"ledger/download/000000-\w+.parquet: the file is missing",
    ),
    "ledger with a row less": (
        lambda run: pq.write_table(
            pq.read_table(ledger_of(run, "filter", "000000")).slice(1), ledger_of(run, "filter", "000000")
        ),
        "ledger/filter",
    ),
    "flipped byte in a raw tar": (
        lambda run: flip(file_of(run, "download", "000000", ".tar"), 5000),
        r"download/000000-\w+.tar: damaged",
    ),
    "broken manifest": (
        lambda run: (run.folder / run.manifest_name("score", "000001")).write_text('{"stage": "sc'),
        "score/000001.json: damaged, no manifest of a shard",
    ),
    "broken layout": (lambda run: (run.folder / "layout.json").write_text("{"), "layout.json: damaged"),
    "manifest that counts wrong": (
        lambda run: _edit(
            (run.folder / run.manifest_name("select", "000000")),
            lambda manifest: _one_less(manifest["counts"]["sources"]),
        ),
        "neither published nor in the ledger",
    ),
}


def _edit(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _one_less(sources: dict[str, dict[str, int]]) -> None:
    next(iter(sources.values()))["rejected"] -= 1


@pytest.mark.parametrize("damage, expected", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_named(copy: Run, damage: Callable[[Run], object], expected: str) -> None:
    damage(copy)
    assert re.search(expected, problems(copy))
