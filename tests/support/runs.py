"""Small worlds, their servers, and a finished run of each that tests look at (and copy before they change it).

`finished` is the demo's, `merged` that of five sources with test images and duplicates. Both are built once into
tests.support.cache; a session works on copies of the runs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo import curation
from tests.support import warm
from tests.support.cache import cached, shared_server, unused_port
from tests.support.paths import REPOSITORY

if TYPE_CHECKING:
    from demo.merge_world import MergeWorld
    from demo.world import World
    from pipeline.run.folder import Run

__all__ = ["REPOSITORY", "Merge", "Site", "finished", "merge", "merged", "published", "site"]


class Site(curation.Site):
    """As the demo's, in processes that start warm."""

    def curate(
        self, run: Path, *options: str, verb: str = "curate", recipe: str = "demo/recipes/demo.yaml"
    ) -> subprocess.CompletedProcess[str]:
        return warm.run(self.command(run, *options, verb=verb, recipe=recipe))


def _build_demo(folder: Path) -> None:
    from demo.server import serving
    from demo.world import build_world

    port = unused_port()
    world = build_world(folder / "world", f"http://127.0.0.1:{port}", size="test")
    with serving(world.web, port):
        done = Site(world).curate(folder / "run", "--workers 2")
    assert done.returncode == 0, done.stderr


def _demo_world(folder: Path) -> World:
    from demo.world import World

    described = json.loads((folder / "world" / "world.json").read_text(encoding="utf-8"))
    paths = {name: Path(described[name]) for name in ("folder", "removal_list", "web", "truth")}
    return World(**{**described, **paths})


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """A world of a few hundred pairs, served on loopback while any session's tests run."""
    folder = cached("demo", _build_demo)
    world = _demo_world(folder)
    with shared_server(folder, world.web, world.base_url):
        yield Site(world)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that went through undisturbed, with two workers: this session's copy."""
    return _copy(cached("demo", _build_demo) / "run", tmp_path_factory.mktemp("finished") / "run")


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


def _build_merge(folder: Path) -> None:
    from demo.merge import PORT, RECIPE, WORLD
    from demo.merge_world import build_merge_world
    from demo.server import serving

    port = unused_port()
    world = build_merge_world(folder / "world", f"http://127.0.0.1:{port}", size="test")
    (folder / "base_url").write_text(world.base_url, encoding="utf-8")
    text = (REPOSITORY / RECIPE).read_text(encoding="utf-8")
    assert str(WORLD) in text and f"127.0.0.1:{PORT}" in text
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        text.replace(str(WORLD), str(world.folder)).replace(f"127.0.0.1:{PORT}", world.allow_host), encoding="utf-8"
    )
    with serving(world.web, port):
        done = warm.run(Merge(world, recipe).command(folder / "run", 2))
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def merge() -> Iterator[Merge]:
    """The merge's world, served on loopback while any session's tests run."""
    from demo.merge_world import MergeWorld

    folder = cached("merge", _build_merge)
    base_url = (folder / "base_url").read_text(encoding="utf-8")
    world = MergeWorld(folder / "world", base_url, folder / "world" / "truth.parquet")
    with shared_server(folder, world.web, base_url):
        yield Merge(world, folder / "recipe.yaml")


@pytest.fixture(scope="session")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that went through undisturbed, with two workers: this session's copy."""
    return _copy(cached("merge", _build_merge) / "run", tmp_path_factory.mktemp("merged") / "run")


def _copy(source: Path, target: Path) -> Run:
    from pipeline.stages.opening import read_run

    shutil.copytree(source, target)
    return read_run(target)


def published(run: Path) -> dict[str, bytes]:
    """Every file of the published folder."""
    return {path.name: path.read_bytes() for path in sorted((run / "dataset").iterdir())}
