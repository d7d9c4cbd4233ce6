"""Small worlds, their servers, and a finished run of each that tests look at (and copy before they damage it).

`finished` is the demo's, `merged` that of five sources with test images and duplicates. Each is made once a session.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.merge import PORT, RECIPE, WORLD
from demo.merge_world import MergeWorld, build_merge_world
from demo.server import serving
from demo.world import World, build_world
from pipeline.run.folder import Run
from pipeline.stages.opening import read_run
from tests.paths import REPOSITORY


@dataclass(frozen=True)
class Site:
    """The world and how to curate it."""

    world: World

    def command(
        self, run: Path, *options: str, verb: str = "curate", recipe: str = "demo/recipes/demo.yaml"
    ) -> list[str]:
        """`zhclip curate` on a recipe of the demo's, with this world's files and small shards."""
        allow = f'["{self.world.allow_host}"]'
        values = {
            "sources.laion.files": f'["{self.world.laion}"]',
            **(
                {"sources.laion.removal_lists": f'["{self.world.removal_list}"]'}
                if recipe == "demo/recipes/demo.yaml"
                else {}
            ),
            "sources.wukong.files": f'["{self.world.wukong}"]',
            "sources.laion.rules.url.allow_hosts": allow,
            "sources.wukong.rules.url.allow_hosts": allow,
            "download.allow_hosts": allow,
            "download.timeout": "1.5",
            "download.deadline": "2.5",
            "plan.shard_size": "60",
            "plan.bucket_rows": "150",
            "publish.pairs_per_shard": "50",
        }
        sets = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
        before, _, after = " ".join(options).partition("-- ")
        beam = ["--", *after.split()] if after else []
        return [
            sys.executable,
            "-m",
            "zhclip",
            verb,
            recipe,
            "--run",
            str(run),
            *sets,
            *before.split(),
            *beam,
        ]

    def curate(
        self, run: Path, *options: str, verb: str = "curate", recipe: str = "demo/recipes/demo.yaml"
    ) -> subprocess.CompletedProcess[str]:
        """Runs it to its end."""
        command = self.command(run, *options, verb=verb, recipe=recipe)
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A world of a few hundred pairs, served on loopback while the tests run."""
    port = _free_port()
    world = build_world(tmp_path_factory.mktemp("world"), f"http://127.0.0.1:{port}", size="test")
    with serving(world.web, port):
        yield Site(world)


@pytest.fixture(scope="session")
def finished(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that went through undisturbed, with two workers."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    done = site.curate(folder, "--workers 2")
    assert done.returncode == 0, done.stderr
    return read_run(folder)


SMALL_MERGE = ("plan.shard_size=100", "publish.pairs_per_shard=50", "plan.bucket_rows=150")


@dataclass(frozen=True)
class Merge:
    """A world that is served, and the demo's recipe with this world's files and address."""

    world: MergeWorld
    recipe: Path

    def command(self, run: Path, workers: int) -> list[str]:
        sets = [part for value in SMALL_MERGE for part in ("--set", value)]
        words = ["curate", str(self.recipe), "--run", str(run), "--workers", str(workers), *sets]
        return [sys.executable, "-m", "zhclip", *words]


@pytest.fixture(scope="session")
def merge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Merge]:
    folder = tmp_path_factory.mktemp("merge")
    port = _free_port()
    world = build_merge_world(folder / "world", f"http://127.0.0.1:{port}", size="test")
    text = (REPOSITORY / RECIPE).read_text(encoding="utf-8")
    assert str(WORLD) in text and f"127.0.0.1:{PORT}" in text
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        text.replace(str(WORLD), str(world.folder)).replace(f"127.0.0.1:{PORT}", world.allow_host), encoding="utf-8"
    )
    with serving(world.web, port):
        yield Merge(world, recipe)


@pytest.fixture(scope="session")
def merged(merge: Merge, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that went through undisturbed, with two workers."""
    folder = tmp_path_factory.mktemp("merged") / "run"
    done = subprocess.run(merge.command(folder, 2), cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return read_run(folder)


def published(run: Path) -> dict[str, bytes]:
    """Every file of the published folder."""
    return {path.name: path.read_bytes() for path in sorted((run / "dataset").iterdir())}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
