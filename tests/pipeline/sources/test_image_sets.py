"""COCO, COCO-CN and Visual Genome through the real plan and download stages, with images in a folder, a zip and on a server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.inspect.funnel import query_ledger, source_funnels
from pipeline.recipe import Recipe, dump_recipe
from pipeline.run.folder import Run
from pipeline.run.manifest import RunError
from pipeline.runners.driver import run_stages
from pipeline.stages.opening import open_run
from tests.pipeline.sources.image_set_files import coco_name, jpeg, region, write_coco, write_image_data, write_regions
from tests.support.loopback import Answer, Web
from tests.support.paths import REPOSITORY, file_of

pytestmark = pytest.mark.slow

STAGES = ("plan", "download")
KILLED = """
import sys
from pathlib import Path
from pipeline.driver import run_stages
from pipeline.recipe import load_recipe
from pipeline.stages.opening import open_run
run_stages(open_run(sys.argv[2], load_recipe(sys.argv[1]))[0], ("plan", "download"), 1, [], lambda *_: None)
"""
SECRET = jpeg(999)


@dataclass(frozen=True)
class World:
    """Files of five sources, and the recipe that reads them."""

    folder: Path
    recipe: Recipe

    def run(self, folder: Path, workers: int = 2) -> Run:
        run, _ = open_run(folder, self.recipe)
        run_stages(run, STAGES, workers, [], lambda *_: None)
        return run


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    web = Web()
    yield World(folder, Recipe.model_validate(build(folder, web)))
    web.close()


def build(folder: Path, web: Web) -> dict[str, Any]:
    """Writes all files; the answer is the recipe."""
    write_images(folder, web)
    write_coco(folder / "captions_train2014.json", [1, 2, 3, 4, 5])
    chinese = {str(10 * number + take): f"第{number}只小猫在睡觉{take}" for number in range(1, 6) for take in (0, 1)}
    del chinese["11"]
    (folder / "zh.json").write_text(json.dumps(chinese, ensure_ascii=False), encoding="utf-8")
    split = {
        "images": [{"cocoid": 3, "split": "test"}, {"cocoid": 4, "split": "restval"}, {"cocoid": 9, "split": "val"}]
    }
    (folder / "dataset_coco.json").write_text(json.dumps(split))
    (folder / "coco-cn_test.txt").write_text(f"{coco_name(3).removesuffix('.jpg')}\n")
    (folder / "flickr30k_test.txt").write_text("77\n")
    (folder / "imageid.human-written-caption.txt").write_text(
        "".join(f"{coco_name(number).removesuffix('.jpg')}#0\t第{number}张照片里有猫\n" for number in (2, 3, 6)),
        encoding="utf-8",
    )
    boxes = [(0, 0, 40, 30), (40, 30, 40, 30), (500, 500, 5, 5)]
    regions = {
        image: [region(10 * image + i, image, f"phrase {image} {i}", box) for i, box in enumerate(boxes)]
        for image in (1, 2, 3, 4)
    }
    write_regions(folder / "region_descriptions.json", regions)
    phrases = {
        str(entry["region_id"]): f"第{entry['region_id']}号区域" for entries in regions.values() for entry in entries
    }
    (folder / "phrases.json").write_text(json.dumps(phrases, ensure_ascii=False), encoding="utf-8")
    write_image_data(
        folder / "image_data.json", {1: (None, 76), 2: (9, None), 3: (None, 77), 4: (None, None)}, f"http://{web.host}"
    )
    return recipe(folder, web.host)


def write_images(folder: Path, web: Web) -> None:
    (folder / "images" / "train2014").mkdir(parents=True)
    for number in (1, 2, 3, 4, 6):
        (folder / "images" / "train2014" / coco_name(number)).write_bytes(jpeg(number))
    (folder / "images" / "secret.jpg").write_bytes(SECRET)
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for number in (1, 2, 3, 4):
            archive.writestr(f"VG_100K/{number}.jpg", jpeg(100 + number))
            web.put(f"/VG_100K/{number}.jpg", Answer(jpeg(100 + number)))
    lines = (
        "url,caption",
        "local:coco/secret.jpg,偷看一个本地的文件",
        f"file://{folder}/images/secret.jpg,偷看另一个文件",
    )
    (folder / "hostile.csv").write_text("\n".join(lines), encoding="utf-8")


def recipe(folder: Path, host: str) -> dict[str, Any]:
    karpathy = {"files": [str(folder / "dataset_coco.json")]}
    coco_cn = {"files": [str(folder / "coco-cn_test.txt")]}
    flickr = {"files": [str(folder / "flickr30k_test.txt")], "match": "flickr_id"}
    genome = {
        "kind": "visual_genome",
        "files": [str(folder / "region_descriptions.json")],
        "image_data": str(folder / "image_data.json"),
        "translation": {"files": [str(folder / "phrases.json")]},
        "test_sets": {"karpathy": karpathy, "flickr30k": flickr},
    }
    return {
        "sources": {
            "coco": {
                "kind": "coco",
                "files": [str(folder / "captions_train2014.json")],
                "images": str(folder / "images"),
                "translation": {"files": [str(folder / "zh.json")]},
                "test_sets": {"karpathy": karpathy, "coco_cn": coco_cn},
            },
            "coco_cn": {
                "kind": "coco",
                "captions": "coco_cn",
                "files": [str(folder / "imageid.human-written-caption.txt")],
                "images": str(folder / "images"),
                "test_sets": {"coco_cn": coco_cn},
            },
            "joined": {**genome, "rules": {"url": {"allow_hosts": [host]}}},
            "regions": {**genome, "pairs": "regions", "images": [str(folder / "images.zip")]},
            # the owner of a recipe who lets any scheme pass still gives metadata no way to a file
            "hostile": {
                "kind": "wukong",
                "files": [str(folder / "hostile.csv")],
                "rules": {"url": {"schemes": ["http", "https", "local", "file"]}},
            },
        },
        "plan": {"shard_size": 6, "split_rows": 1000},
        "download": {"allow_hosts": [host], "image_size": 32, "threads": 4},
    }


@pytest.fixture(scope="module")
def finished(world: World, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return world.run(tmp_path_factory.mktemp("finished") / "run")


def pairs_of(run: Run) -> pa.Table:
    """All planned pairs with what became of their image."""
    tables = []
    for shard in sorted(run.done("plan")):
        plan, raw = (pq.read_table(file_of(run, step, shard)) for step in ("plan", "download"))
        assert plan["key"].equals(raw["key"])
        tables.append(plan.append_column("status", raw["status"]).append_column("sha256", raw["original_sha256"]))
    return pa.concat_tables(tables)


def images_of(run: Run) -> dict[str, bytes]:
    """The stored JPEG of every key: their order in a raw tar is that in which they came."""
    images = {}
    for shard in run.done("download"):
        data = file_of(run, "download", shard, ".tar").read_bytes()
        for row in pq.read_table(file_of(run, "download", shard)).to_pylist():
            if row["status"] == "ok":
                images[row["key"]] = data[row["offset"] : row["offset"] + row["length"]]
    return images


def lost(run: Run, source: str) -> dict[int, list[str]]:
    """Row → reasons, from the ledger."""
    rows = query_ledger(run, f"select row, reasons from ledger where source = '{source}' order by row").to_pylist()
    return {row["row"]: row["reasons"] for row in rows}


UNTRANSLATED = ["caption_too_short", "no_han", "not_translated"]


def test_every_row_is_a_pair_or_in_the_ledger_with_all_its_reasons(finished: Run) -> None:
    coco = lost(finished, "coco")
    held_out = ["test_set_karpathy", "test_set_coco_cn"]
    assert {row: [r for r in reasons if not r.startswith("translation")] for row, reasons in coco.items()} == {
        2: held_out, 4: ["file_missing"], 5: UNTRANSLATED, 7: held_out, 9: ["file_missing"],
    }  # fmt: skip
    assert lost(finished, "coco_cn") == {1: ["test_set_coco_cn"]}
    assert lost(finished, "joined") == {1: ["test_set_karpathy"], 2: ["test_set_flickr30k"]}
    regions = lost(finished, "regions")
    assert regions == {
        2: ["crop_outside"],
        **{row: ["test_set_karpathy"] for row in (3, 4, 5)},
        **{row: ["test_set_flickr30k"] for row in (6, 7, 8)},
        11: ["crop_outside"],
    }
    for funnel in source_funnels(finished):
        assert funnel.read == {"coco": 10, "coco_cn": 3, "joined": 4, "regions": 12, "hostile": 2}[funnel.source]
        fetched = sum(
            row["source"] == funnel.source and row["status"] == "ok" for row in pairs_of(finished).to_pylist()
        )
        assert funnel.read == fetched + funnel.outcomes["rejected_by_rules"] + funnel.outcomes["not_fetched"], funnel


def test_pairs_carry_the_english_and_the_ids(finished: Run) -> None:
    rows = {(row["source"], row["row"]): row for row in pairs_of(finished).to_pylist()}
    columns = ("caption", "english", "image_id", "coco_id", "flickr_id", "url")
    assert [rows["coco", 1][name] for name in columns] == [
        "第2只小猫在睡觉0", "Cat 2 sleeps, take 0.", "2", 2, 2970770002, f"local:coco/train2014/{coco_name(2)}",
    ]  # fmt: skip
    assert [rows["coco_cn", 0][name] for name in columns[:4]] == ["第2张照片里有猫", None, "2", 2]
    assert rows["coco", 1]["sha256"] == rows["coco_cn", 0]["sha256"]
    joined = rows["joined", 0]
    assert (joined["caption"], joined["english"]) == (
        "第10号区域，第11号区域，第12号区域",
        "phrase 1 0; phrase 1 1; phrase 1 2",
    )
    assert (joined["flickr_id"], joined["coco_id"], joined["status"]) == (76, None, "ok")
    assert rows["regions", 1]["url"] == "local:regions/VG_100K/1.jpg#xywh=40,30,40,30"
    assert rows["regions", 0]["sha256"] == rows["regions", 1]["sha256"] == joined["sha256"]
    images = images_of(finished)
    assert images[rows["regions", 0]["key"]] != images[rows["regions", 1]["key"]]


def test_metadata_that_names_a_local_file_gets_nothing(finished: Run) -> None:
    hostile = lost(finished, "hostile")
    assert all({"url_malformed", "refused_scheme"} & set(reasons) for reasons in hostile.values())
    assert sorted(hostile) == [0, 1]
    assert not [row for row in pairs_of(finished).to_pylist() if row["source"] == "hostile" and row["status"] == "ok"]


def committed(run: Run) -> dict[str, bytes]:
    """Plan and ledger, byte for byte."""
    paths = [*(run.folder / "plan").glob("*.parquet"), *(run.folder / "ledger").rglob("*.parquet")]
    return {str(path.relative_to(run.folder)): path.read_bytes() for path in sorted(paths)}


def test_killed_and_continued_by_one_worker_it_makes_the_same(world: World, finished: Run, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(dump_recipe(world.recipe), encoding="utf-8")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "recipe.yaml"), str(tmp_path / "run")]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list((tmp_path / "run" / "download").glob("*.json")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = world.run(tmp_path / "run", workers=1)
    assert run.done("download") == finished.done("download")
    assert committed(run) == committed(finished)
    assert images_of(run) == images_of(finished)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"images": "nowhere"}, r"sources.coco.images: nowhere: expected a folder or a zip file"),
        (
            {"test_sets": {"mine": {"files": ["{}/zh.json"]}}},
            r"sources.coco.test_sets.mine: .*zh.json: expected a Karpathy split",
        ),
        ({"test_sets": {"mine": {"files": ["absent.txt"]}}}, r"absent.txt matches no file"),
    ],
)
def test_what_cannot_be_used_is_told_before_any_work(
    world: World, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    source = {**world.recipe.canonical()["sources"]["coco"], **change}
    text = json.dumps({"sources": {"coco": source}}).replace("{}", str(world.folder))
    run, _ = open_run(tmp_path / "run", Recipe.model_validate(json.loads(text)))
    with pytest.raises((RunError, ValueError), match=message):
        run_stages(run, ("plan",), 1, [], lambda *_: None)


@pytest.mark.parametrize("name", ["image_data.json", "dataset_coco.json", "phrases.json"])
def test_lists_decide_so_they_may_not_change_in_a_run(world: World, finished: Run, name: str) -> None:
    path = world.folder / name
    before = path.read_bytes()
    path.write_bytes(before + b" ")
    try:
        with pytest.raises(RunError, match=name):
            run_stages(finished, ("plan",), 1, [], lambda *_: None)
    finally:
        path.write_bytes(before)
