"""Builds the merge world: LAION, Wukong, COCO, COCO-CN and Visual Genome in their own formats, with copies of test images, images
of test lists and duplicates planted across them, and the truth about every row."""

from __future__ import annotations

import os
import random
import shutil
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from demo.merge_files import write_evaluation_set
from demo.merge_plan import Plan, Planner, Size
from demo.merge_sources import Sources
from demo.scenes import Scene, copy_of, scene_file
from demo.site import Site

PORT = 18712  # not that of demo.world: both demos can run at a time

TRUTH_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("file", pa.string()),  # base name of the metadata file
        ("row", pa.int64()),  # as the ledger counts: annotation, line, or image of Visual Genome
        ("image", pa.string()),  # id of the image in its source, or its url
        ("kind", pa.string()),  # clean, test image, test id, duplicate
        ("form", pa.string()),  # original, or of demo.scenes.FORMS
        ("match", pa.string()),  # id of the test image, name of the list, name of the group; "" where clean
        ("english", pa.string()),
        ("chinese", pa.string()),  # what the caption should be
        ("by", pa.string()),  # who gives the Chinese: source, file, model
    ]
)


@dataclass(frozen=True)
class MergeWorld:
    """Where everything lies."""

    folder: Path
    base_url: str
    truth: Path  # Parquet of TRUTH_SCHEMA

    @property
    def metadata(self) -> Path:
        """Folder of the metadata files, the images of COCO and the lists."""
        return self.folder / "metadata"

    @property
    def evaluation(self) -> Path:
        """The evaluation set, in Chinese-CLIP's layout."""
        return self.folder / "evaluation"

    @property
    def web(self) -> Path:
        """Folder for demo.server."""
        return self.folder / "web"

    @property
    def allow_host(self) -> str:
        """The server as `host:port`, which a recipe must allow, because it is on loopback."""
        return self.base_url.removeprefix("http://")


def build_merge_world(
    folder: Path,
    base_url: str = f"http://127.0.0.1:{PORT}",
    seed: int = 0,
    size: Size = "demo",
    cache: Path | None = None,
) -> MergeWorld:
    """Writes a world into `folder`, replacing what an earlier one left there.

    "demo" has 1,000 rows of 778 images, "test" a fifth of that. Raises RuntimeError where the drawings cannot be fetched.
    """
    for old in ("metadata", "web", "evaluation"):
        shutil.rmtree(folder / old, ignore_errors=True)
    world = MergeWorld(folder, base_url, folder / "truth.parquet")
    plan = Planner(size, seed, cache).plan()
    images = render_images(plan)
    sources = Sources(world.metadata, Site(world.web, base_url), plan.names, images, random.Random(seed + 1))
    truth = sources.write(plan.entries)
    write_evaluation_set(world.evaluation, evaluation_images(plan, images))
    pq.write_table(pa.Table.from_pylist(truth, TRUTH_SCHEMA), world.truth)
    return world


def render_images(plan: Plan) -> dict[str, bytes]:
    """`Entry.image` → bytes of the file, on as many processes as there are cores; test images under their scene's name."""
    scenes: dict[str, Scene] = {scene.name: scene for scene in plan.tests.values()}
    wanted: dict[str, dict[str, str]] = defaultdict(dict)
    for entry in plan.entries:
        scenes[entry.scene.name] = entry.scene
        wanted[entry.scene.name][entry.image] = entry.form
    orders = [(scene, tuple(wanted[name].items())) for name, scene in scenes.items()]
    with ProcessPoolExecutor(os.cpu_count() or 1) as pool:
        return {name: data for files in pool.map(_render, orders, chunksize=8) for name, data in files}


def _render(order: tuple[Scene, tuple[tuple[str, str], ...]]) -> list[tuple[str, bytes]]:
    scene, copies = order
    data = scene_file(scene)
    made = [(name, copy_of(data, form, random.Random(name))) for name, form in copies if name != scene.name]
    return [(scene.name, data), *made]


def evaluation_images(plan: Plan, images: dict[str, bytes]) -> dict[str, tuple[bytes, str]]:
    """Id → file and caption of each image of the evaluation set."""
    return {
        name: (images[scene.name], plan.names[scene.placed[0].drawing.hexcode].chinese)
        for name, scene in plan.tests.items()
    }
