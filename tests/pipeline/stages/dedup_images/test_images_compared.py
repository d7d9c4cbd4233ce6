"""Planted copies through the whole pipeline: real drawings over real HTTP, every copy caught and named."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps
from rich.console import Console

from demo.drawings import encode, load_drawings, picture
from pipeline.inspect.check.check import check
from pipeline.inspect.check.policy import Policy
from pipeline.inspect.funnel import query_ledger, source_funnels
from pipeline.inspect.verify import verify_run
from pipeline.recipe import Recipe
from pipeline.run.attempt import begin_attempt
from pipeline.run.folder import Run
from pipeline.run.manifest import RunError
from pipeline.runners.beam import StageFailed
from pipeline.runners.driver import run_stages
from pipeline.stages.eval_images import stage as test_images
from pipeline.stages.opening import open_run, read_run
from pipeline.stages.registry import COMMANDS
from pipeline.stages.score.fingerprint import decode_hashes, differing_bits, fingerprint
from tests.support.paths import REPOSITORY, file_of

COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "same": lambda image: encode(image),
    "resized": lambda image: encode(image.resize((170, 170))),
    "recompressed": lambda image: encode(image, quality=35),
    "mirrored": lambda image: encode(ImageOps.mirror(image)),
    "cropped": lambda image: encode(image.crop((2, 4, 396, 398))),
    "all": lambda image: encode(ImageOps.mirror(image).crop((3, 3, 398, 397)).resize((190, 190)), quality=50),
}
TEST_COPIES = {**COPIES, "cropped_more": lambda image: encode(image.crop((10, 14, 390, 386)))}
COPIED, ALONE, TESTED = (0, 1), range(2, 12), (12, 13)  # which drawings are what


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    """Drawings of which no two look alike."""
    pictures: list[Image.Image] = []
    hashes: list[np.ndarray] = []
    for drawing in load_drawings(("noto",))[::37]:
        image = picture(drawing.svg, 400)
        image_print = fingerprint(np.asarray(image))
        own_hashes = decode_hashes([image_print.image_hash, image_print.mirror_hash])
        if all(differing_bits(own_hashes, other_hash).min() > 50 for other_hash in hashes):
            pictures.append(image)
            hashes.append(own_hashes[0])
    return pictures


@pytest.fixture(scope="module")
def world(images: list[Image.Image], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Two sources, two test sets, and a server; `names` says what lies behind each url."""
    root = tmp_path_factory.mktemp("world")
    (root / "web").mkdir()
    files = {f"alone-{number}": encode(images[number]) for number in ALONE}
    files |= {f"copy-{number}-{name}": make(images[number]) for number in COPIED for name, make in COPIES.items()}
    files |= {f"test-{number}-{name}": make(images[number]) for number in TESTED for name, make in TEST_COPIES.items()}
    (root / "folder").mkdir()
    (root / "folder" / "picture-12.png").write_bytes(encode(images[12], "PNG"))
    (root / "folder" / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    row = b"4711\t" + base64.urlsafe_b64encode(encode(images[13].resize((320, 320))))
    (root / "MR_valid_imgs.tsv").write_bytes(row + b"\n")
    for name, data in files.items():
        (root / "web" / f"{name}.jpg").write_bytes(data)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root / "web")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    for source, names in (("a", [*files][::2]), ("b", [*files][1::2])):
        with (root / f"{source}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["url", "caption"])
            writer.writerows([f"{address}/{name}.jpg", f"{source}里的一张图画,名为{name}"] for name in names)
    yield {"root": root, "host": address.removeprefix("http://"), "names": list(files)}
    server.shutdown()


def recipe(
    world: dict[str, Any], images: dict[str, Any] | None = None, score: dict[str, Any] | None = None, **source: Any
) -> Recipe:
    root, host = world["root"], world["host"]
    rules = {"url": {"allow_hosts": [host]}, "blacklist": None, "caption_length": {"max": 99}}
    common = {"kind": "wukong", "min_score": None, "rules": rules, **source}
    sets = {"folder": {"path": str(root / "folder")}, "muge": {"path": str(root)}}
    return Recipe.model_validate(
        {
            "sources": {name: {**common, "files": [str(root / f"{name}.csv")]} for name in "ab"},
            "plan": {"shard_size": 11},
            "download": {"allow_hosts": [host]},
            "score": {
                "text_model": str(REPOSITORY / "demo/mclip-tiny/text"),
                "image_model": str(REPOSITORY / "demo/mclip-tiny/image"),
                "max_tokens": 80,
                **(score or {}),
            },
            "images": {"duplicates": {}, "test_sets": sets} if images is None else images,
            "publish": {"pairs_per_shard": 10},
        }
    )


def curate(folder: Path, wanted: Recipe) -> Run:
    run, _ = open_run(folder, wanted)
    run_stages(run, COMMANDS, 2, (), lambda *_: None)
    return run


@pytest.fixture(scope="module")
def finished(world: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return curate(tmp_path_factory.mktemp("run") / "run", recipe(world))


def outcomes(run: Run) -> dict[str, dict[str, Any]]:
    """Name of the image → its ledger row, or its published row."""
    rows = query_ledger(run, "select * from ledger").to_pylist()
    rows += [
        row
        for manifest in run.manifests("publish")
        for row in pq.read_table(file_of(run, "publish", manifest.shard)).to_pylist()
    ]
    return {Path(row["url"]).stem: row for row in rows}


def test_every_copy_of_a_test_image_is_caught_and_named(finished: Run) -> None:
    rows = outcomes(finished)
    for number, name, image in ((12, "folder", "picture-12"), (13, "muge", "4711")):
        for copy in TEST_COPIES:
            row = rows[f"test-{number}-{copy}"]
            assert row["reasons"] == [f"test_image_{name}"], (copy, row)
            assert row["detail"].startswith(f"{name} image {image}, ")


def test_one_of_each_picture_is_published_and_its_copies_name_it(finished: Run) -> None:
    rows = outcomes(finished)
    for number in COPIED:
        group = [rows[f"copy-{number}-{copy}"] for copy in COPIES]
        winner = next(row for row in group if "reasons" not in row)
        lost = [row for row in group if "reasons" in row]
        assert len(lost) == len(COPIES) - 1
        assert {row["detail"] for row in lost} == {winner["key"]}
        assert {tuple(row["reasons"]) for row in lost} <= {("duplicate_image",), ("near_duplicate_image",)}
        assert winner["score"] == max(row["score"] for row in group)
    assert all("reasons" not in rows[f"alone-{number}"] for number in ALONE)


def test_the_clusters_are_a_table(finished: Run) -> None:
    clusters = pq.read_table(file_of(finished, "dedup_images", "000000", ".clusters.parquet")).to_pylist()
    assert len(clusters) == len(COPIED) * len(COPIES)
    assert [row["kind"] == "winner" for row in clusters] == [row["key"] == row["cluster"] for row in clusters]
    assert {row["distance"] for row in clusters if row["kind"] == "winner"} == {0}
    assert max(row["distance"] for row in clusters) <= 16


def test_nothing_is_lost_and_verify_agrees(finished: Run, world: dict[str, Any]) -> None:
    assert verify_run(finished, Console(quiet=True)).problems == []
    assert [funnel.waiting for funnel in source_funnels(finished)] == [0, 0]
    assert len(outcomes(finished)) == len(world["names"])
    hashed = [manifest.counts for manifest in finished.manifests("eval_images")]
    assert hashed == [
        {"set": "folder", "in": 2, "undecodable": 1, "out": 1},
        {"set": "muge", "in": 1, "undecodable": 0, "out": 1},
    ]
    card = (finished.folder / "dataset/README.md").read_text(encoding="utf-8")
    published = {funnel.source: funnel.outcomes["published"] for funnel in source_funnels(finished)}
    assert f"{published['a'] / sum(published.values()):.1%}" in card


def test_a_damaged_verdict_is_named(finished: Run, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "run")
    run = read_run(tmp_path / "run")
    path = file_of(run, "dedup_images", "000000", ".decisions.parquet")
    content = path.read_bytes()
    path.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
    problems = verify_run(run, Console(quiet=True)).problems
    assert any(f"dedup_images/{path.name}: damaged" in problem for problem in problems)


def times(run: Run, *steps: str) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for step in steps for path in (run.folder / step).iterdir()}  # type: ignore[arg-type]


def test_changed_limits_run_select_again_and_nothing_costly(
    finished: Run, world: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    costly = ("plan", "download", "score", "eval_images")
    run, _ = open_run(folder, finished.recipe)
    before = times(run, *costly)
    images = finished.recipe.images.model_dump() | {"duplicates": {"distance": None}}
    changed = curate(folder, recipe(world, images, max_pairs=3, cap_keeps="best", min_score=0.0))
    assert times(changed, *costly) == before
    assert verify_run(changed, Console(quiet=True)).problems == []
    rows = outcomes(changed).values()
    for source in "ab":
        kept = [row["score"] for row in rows if row["source"] == source and "reasons" not in row]
        over = [row for row in rows if row["source"] == source and row.get("reasons") == ["over_source_cap"]]
        assert len(kept) == 3
        assert over
        assert max(row["score"] for row in over) <= min(kept)
    assert sum("near_duplicate_image" in row.get("reasons", ()) for row in rows) == 0
    again = curate(folder, recipe(world, {}))
    assert not any(row.get("reasons") for row in outcomes(again).values())
    assert json.loads((again.folder / "dataset/manifest.json").read_text())["pairs"] == len(world["names"])


def test_a_pair_has_all_of_its_reasons(finished: Run, world: dict[str, Any], tmp_path: Path) -> None:

    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    copies = [row for name, row in outcomes(finished).items() if name.startswith("copy-0-")]
    best = max(copies, key=lambda row: row["score"])
    second = sorted(row["score"] for row in copies)[-2]
    assert best["score"] > second
    limit = (best["score"] + second) / 2
    rows = outcomes(curate(folder, recipe(world, finished.recipe.images.model_dump(), min_score=limit)))
    for name, row in rows.items():
        low = [] if row["score"] >= limit else ["score_too_low"]
        if name.startswith("test-"):
            assert row["reasons"][: len(low)] == low
            assert row["reasons"][-1].startswith("test_image_")
        if name.startswith("copy-0-") and row["key"] != best["key"]:
            assert row["reasons"][0] == "score_too_low"
            assert row["reasons"][1].endswith("duplicate_image")
            assert row["detail"] == best["key"]


def test_a_test_set_that_is_not_there_is_told_before_anything_runs(world: dict[str, Any], tmp_path: Path) -> None:
    wanted = recipe(world, {"test_sets": {"coco": {"path": str(tmp_path / "nowhere")}}})
    with pytest.raises(RunError, match=r"images.test_sets.coco: .*nowhere: expected a folder"):
        curate(tmp_path / "run", wanted)
    assert not (tmp_path / "run" / "read").exists()


def test_a_command_that_begins_later_tells_it_too_and_looks_at_nothing_that_is_done(
    finished: Run, world: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.stages.eval_images.stage.find_images", lambda _: pytest.fail("looked for again"))
        run_stages(open_run(folder, finished.recipe)[0], COMMANDS, 2, (), lambda *_: None)
    run, _ = open_run(folder, recipe(world, {"test_sets": {"coco": {"path": str(tmp_path / "nowhere")}}}))
    with pytest.raises(RunError, match=r"images.test_sets.coco: .*nowhere: expected a folder"):
        run_stages(run, ["download"], 2, (), lambda *_: None)


def test_an_image_cut_to_a_square_is_compared_with_the_same_square(images: list[Image.Image]) -> None:
    """Whatever `download.resize` does to a candidate is done to a test image."""
    from pipeline.recipe.download import Download
    from pipeline.stages.download.resize import resize

    wide = Image.new("RGB", (800, 400), "white")
    wide.paste(images[0], (200, 0))
    data = io.BytesIO()
    wide.save(data, "PNG")
    config = Download(resize="center_crop")
    stored = np.asarray(Image.open(io.BytesIO(resize(data.getvalue(), config).jpeg)))
    hashes = test_images._hashes(test_images._stored(data.getvalue(), 0.0, config))
    assert hashes["pixels_sha256"] == fingerprint(stored).pixels_sha256


EMBEDDED = {"embeddings": True, "mirror_embeddings": True}


def confirming(run: Run, least: float) -> dict[str, Any]:
    """The images part of a run's recipe, with wider distances that embeddings confirm."""
    return run.recipe.images.model_dump() | {
        "duplicates": {"distance": 24, "min_cosine": least},
        "test_distance": 32,
        "test_min_cosine": least,
    }


@pytest.fixture(scope="module")
def confirmed(finished: Run, world: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("confirmed") / "run"
    return curate(folder, recipe(world, confirming(finished, 0.85), EMBEDDED))


def test_confirmed_copies_are_the_same_and_say_how_near_they_are(confirmed: Run, finished: Run) -> None:
    rows, hashed_rows = outcomes(confirmed), outcomes(finished)
    assert {name: row.get("reasons") for name, row in rows.items()} == {
        name: row.get("reasons") for name, row in hashed_rows.items()
    }
    near = [row["detail"] for row in rows.values() if "near_duplicate_image" in row.get("reasons", ())]
    near += [row["detail"] for row in rows.values() if row.get("detail") and " image " in row["detail"]]
    near = [detail for detail in near if not detail.endswith("same pixels")]
    assert len(near) > len(TEST_COPIES)
    assert all(re.search(r", distance \d+, cosine (0\.[89]\d\d|1\.000)$", detail) for detail in near), near
    assert verify_run(confirmed, Console(quiet=True)).problems == []
    published = pq.read_schema(file_of(confirmed, "publish", confirmed.manifests("publish")[0].shard))
    assert not [name for name in published.names if "embedding" in name]


def test_the_cosines_of_clusters_are_those_of_the_stored_embeddings(confirmed: Run) -> None:
    tables = [pq.read_table(file_of(confirmed, "score", manifest.shard)) for manifest in confirmed.manifests("score")]
    views = {row["key"]: row for table in tables for row in table.to_pylist()}

    def dot(first: str, second: str, *names: str) -> float:
        return float(
            np.dot(*(np.array(views[key][name], float) for key, name in zip((first, second), names, strict=True)))
        )

    near = [row for row in pq.read_table(file_of(confirmed, "dedup_images", "000000", ".clusters.parquet")).to_pylist()
            if row["kind"] == "near"]  # fmt: skip
    assert near
    for row in near:
        pair, plain, mirror = (row["key"], row["cluster"]), "embedding", "mirror_embedding"
        ways = [dot(*pair, plain, plain), dot(*pair, plain, mirror), dot(*pair, mirror, plain)]
        assert row["cosine"] == pytest.approx(max(ways), abs=1e-3)


def test_a_stricter_cosine_runs_select_again_and_the_gate_confirms_as_the_recipe_does(
    confirmed: Run, world: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(confirmed.folder, folder)
    run, _ = open_run(folder, confirmed.recipe)
    before = times(run, "plan", "download", "score")
    strict = curate(folder, recipe(world, confirming(confirmed, 1.0), EMBEDDED))
    assert times(strict, "plan", "download", "score") == before
    lost = [row for row in outcomes(strict).values() if "reasons" in row]
    assert 0 < len(lost) < sum("reasons" in row for row in outcomes(confirmed).values())
    assert verify_run(strict, Console(quiet=True)).problems == []
    policy = Policy.model_validate({"rules": [{"rule": "contamination"}]})
    assert check(folder, policy)[0].outcome == "passed"
    text = (folder / "recipe.yaml").read_text(encoding="utf-8")
    assert "test_min_cosine: 1.0" in text
    (folder / "recipe.yaml").write_text(text.replace("test_min_cosine: 1.0", "test_min_cosine: null"), encoding="utf-8")
    assert (
        check(folder, policy)[0].outcome == "failed"
    )  # hashes alone see copies of test images among what is published


def test_embeddings_that_are_not_there_are_told(confirmed: Run, world: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"images.duplicates.min_cosine needs score.embeddings: true; found false"):
        recipe(world, {"duplicates": {"min_cosine": 0.9}})
    folder = tmp_path / "run"
    shutil.copytree(confirmed.folder, folder)
    run = read_run(folder)
    for manifest in run.manifests("eval_images"):
        table = run.table("eval_images", manifest.shard)
        other = pa.repeat("another", table.num_rows)
        run.forget(manifest)
        with begin_attempt(run, "eval_images", manifest.shard) as attempt:
            renamed = table.set_column(table.column_names.index("image_revision"), "image_revision", other)
            pq.write_table(renamed, attempt.output(".parquet"))
            attempt.commit(manifest.counts)
    with pytest.raises(StageFailed, match=r"image tower .*, eval_images/ of another: score.image_model was replaced"):
        curate(folder, recipe(world, confirming(confirmed, 0.9), EMBEDDED))
