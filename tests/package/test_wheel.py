"""The wheel, in an empty environment with what a download worker needs: it runs from any folder, and without torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import foundation
from foundation.errors import EXIT_INCOMPLETE
from tests.support.loopback import Answer, Web
from tests.support.paths import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

RECIPE = """
name: own
sources:
  own:
    kind: table
    files: [pairs.csv]
    columns: {{url: link, caption: text}}
    rules: {{url: {{allow_hosts: ["{host}"]}}}}
download: {{allow_hosts: ["{host}"], backoff: 0.01}}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it: what a package index would hold."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in tracked():  # a copy: building leaves files behind
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, source / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    """The wheel."""
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def worker(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the wheel and what `zhclip[download]` asks for, in the locked versions."""
    folder = tmp_path_factory.mktemp("worker")
    venv.create(folder, with_pip=True)
    lock = REPOSITORY / "requirements.lock"
    install = ["install", "--quiet", "--no-compile", "--constraint", str(lock), f"{wheel}[download]"]
    outside = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH"
    }  # it would show pip the checkout
    subprocess.run([folder / "bin" / "pip", *install], check=True, capture_output=True, env=outside)
    return folder / "bin"


@pytest.fixture
def web() -> Iterator[Web]:
    """A server on loopback."""
    web = Web()
    yield web
    web.close()


def tracked(*paths: str) -> list[str]:
    """Names of the files that git tracks, in the whole repository or below some paths of it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *paths], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    return [name for name in listed.stdout.split("\0") if name]


def run(program: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A program of the environment, from a folder that has nothing of this repository, with nothing of it on the path."""
    return subprocess.run(
        [program, *arguments], cwd=folder, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )


def zhclip(worker: Path, *arguments: str, folder: Path, expected: int = 0) -> str:
    """What a command prints that exits as expected."""
    ended = run(worker / "zhclip", *arguments, folder=folder)
    assert ended.returncode == expected, ended.stderr
    return ended.stdout


def test_the_wheel_holds_what_the_code_reads_and_no_more(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    packages = ("filters", "foundation", "pipeline", "trainer", "zhclip")
    assert {name.partition("/")[0] for name in names if "dist-info" not in name} == set(packages)
    assert {name for name in names if "dist-info" not in name} == set(tracked(*packages))
    assert all(f"{package}/py.typed" in names for package in packages)


def test_the_source_distribution_holds_the_tests_and_what_they_read(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert not set(tracked()) - names - {".gitignore"}


def test_a_download_worker_has_no_torch(worker: Path, tmp_path: Path) -> None:
    assert run(worker / "python", "-c", "import apache_beam", folder=tmp_path).returncode == 0
    ended = run(worker / "python", "-c", "import torch", folder=tmp_path)
    assert "No module named 'torch'" in ended.stderr


def test_commands_run_from_another_folder(worker: Path, web: Web, tmp_path: Path) -> None:
    url = web.put("/1.jpg", Answer(jpeg(tmp_path)))
    (tmp_path / "pairs.csv").write_text(f"link,text\n{url},一只小猫坐在窗台上\n{url},短\n")
    (tmp_path / "own.yaml").write_text(RECIPE.format(host=web.host))

    assert zhclip(worker, "--version", folder=tmp_path) == f"zhclip {foundation.__version__}\n"
    assert "builtin:chinese_clip" in zhclip(worker, "recipe", "list", folder=tmp_path)
    assert "min_score" in zhclip(worker, "recipe", "show", "builtin:chinese_clip", folder=tmp_path)
    zhclip(worker, "plan", "own.yaml", "run", folder=tmp_path)
    zhclip(worker, "download", "run", folder=tmp_path)
    assert web.hits["/1.jpg"] == 1
    assert "caption_too_short" in zhclip(worker, "sql", "run", "from reasons", "--csv", folder=tmp_path)
    proof = json.loads(zhclip(worker, "verify", "run", "--json", folder=tmp_path, expected=EXIT_INCOMPLETE))
    assert (proof["problems"], proof["incomplete"]) == ([], "score 0 of 1 shards")
    manifests = [json.loads(path.read_text()) for path in (tmp_path / "run").rglob("000000.json")]
    assert all("torch" not in manifest["versions"] and "pyarrow" in manifest["versions"] for manifest in manifests)
    assert any("img2dataset" in manifest["versions"] for manifest in manifests)


def test_a_job_whose_packages_are_missing_says_so_in_one_sentence(worker: Path, web: Web, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(f"link,text\n{web.put('/1.jpg')},一只小猫坐在窗台上\n")
    (tmp_path / "own.yaml").write_text(RECIPE.format(host=web.host))
    zhclip(worker, "plan", "own.yaml", "run", folder=tmp_path)
    for command, package in (
        (["score", "run"], "torch"),
        (["report", "run"], "altair"),
        (["serve", "."], "altair"),
        (["train", "tiny", "--data", "x", "--out", "o"], "torch"),
    ):
        ended = run(worker / "zhclip", *command, folder=tmp_path)
        assert ended.returncode == 2
        assert (
            ended.stderr.strip() == f"zhclip: zhclip {command[0]} needs {package}: pip install 'zhclip[{command[0]}]'"
        )


def test_another_package_of_the_same_name_is_named(worker: Path, tmp_path: Path) -> None:
    (shadow := tmp_path / "trainer").mkdir()
    (shadow / "__init__.py").write_text("")
    ended = run(worker / "python", "-m", "zhclip", "--help", folder=tmp_path)  # -m puts the folder on the path
    assert ended.returncode == 2
    assert f"the package `trainer` in {shadow} is not zhclip's" in ended.stderr


def test_a_package_that_another_distribution_wrote_over_is_named(worker: Path, tmp_path: Path) -> None:
    (init,) = worker.parent.glob("lib/*/site-packages/trainer/__init__.py")
    before = init.read_bytes()
    try:
        init.write_text("VERSION = '0.0.36'  # of PyPI's `trainer`\n")
        ended = run(worker / "zhclip", "--help", folder=tmp_path)
    finally:
        init.write_bytes(before)
    assert ended.returncode == 2
    assert f"the package `trainer` in {init.parent} is not zhclip's" in ended.stderr
    assert run(worker / "zhclip", "--help", folder=tmp_path).returncode == 0


def jpeg(folder: Path) -> bytes:
    """A picture, encoded."""
    path = folder / "picture.jpg"
    Image.new("RGB", (300, 300), "teal").save(path)
    return path.read_bytes()
