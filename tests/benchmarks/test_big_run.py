from __future__ import annotations

import json
from itertools import pairwise

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from benchmarks.big_run.__main__ import Size, generate
from pipeline.inspect.catalog import connect
from pipeline.inspect.catalog.images import image_places, read_image
from pipeline.inspect.funnel import source_funnels
from pipeline.inspect.verify import verify_run
from pipeline.run.folder import Run
from pipeline.run.manifest import RunError
from pipeline.stages.registry import STAGES
from tests.support.paths import file_of

pytestmark = pytest.mark.slow

SIZE = Size(rows=20_000, images=4, shard_size=2_000)
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return generate(tmp_path_factory.mktemp("generated") / "run", SIZE, 2, QUIET)


def test_no_row_is_lost_and_everything_verifies(generated: Run) -> None:
    funnels = source_funnels(generated)
    unreadable = [funnel.outcomes["unreadable"] for funnel in funnels]
    published = [funnel.outcomes["published"] for funnel in funnels]
    assert [funnel.waiting for funnel in funnels] == [0, 0, 0]
    assert sum(funnel.read for funnel in funnels) == SIZE.rows + sum(unreadable)
    assert set(unreadable) == {0, 5}  # malformed lines of the CSV file
    assert min(published) > 1_000
    report = verify_run(generated, QUIET)  # counts the ledger again, and compares every published pair with its tar
    no_tar = [problem for problem in report.problems if ".tar, which every shard of this stage has" in problem]
    shards = [manifest for stage in ("download", "publish") for manifest in generated.manifests(stage)]
    assert len(no_tar) == sum(not any(name.endswith(".tar") for name in manifest.files) for manifest in shards) > 0
    others = [problem for problem in report.problems if problem not in no_tar]
    assert all(
        "is not the downloaded one" in problem for problem in others
    )  # hashes of an index without a tar are made up
    assert report.checked["published pairs"] == sum(published)


def test_copies_and_failures_are_there_to_be_found(generated: Run) -> None:
    with connect(generated.folder) as catalog:
        rejected = dict(catalog.sql("select reason, count(*) from reasons group by all").fetchall())
        kinds = dict(catalog.sql("select kind, count(*) from clusters group by all").fetchall())
        hosts = "from downloads join plan using (key) group by domain(url) having count(*) > 50"
        shares = [share for (share,) in catalog.sql(f"select avg((status = 'failed')::int) {hosts}").fetchall()]
        times = catalog.sql("select stage, min(began), max(ended) from shards group by all").fetchall()
        spans = {stage: (began, ended) for stage, began, ended in times}
    assert {
        "duplicate_pair",
        "caption_too_short",
        "blacklist_adult",
        "http_404",
        "dns_failed",
        "test_image_drawings",
    } <= set(rejected)
    assert kinds["same_pixels"] > 50 and kinds["near"] > 50
    assert min(shares) < 0.2 and max(shares) > 0.9
    order = [spans[stage] for stage in ("plan", "download", "score", "select")]
    assert all(before[1] < after[0] for before, after in pairwise(order))


def test_images_of_the_first_shards_are_real(generated: Run) -> None:
    with connect(generated.folder) as catalog:
        keys = [key for (key,) in catalog.sql("select key from pairs where tar = '000000.tar' limit 5").fetchall()]
        places = image_places(catalog, keys)
    assert len(keys) == 5
    assert {read_image(generated.folder, places[key])[:2] for key in keys} == {b"\xff\xd8"}
    assert [shard.shard for shard in generated.manifests("download") if len(shard.files) == 3] == [
        f"{n:06d}" for n in range(4)
    ]


def test_continues_and_makes_the_same_bytes(generated: Run) -> None:
    before = {step: generated.manifest(step, "000002") for step in ("download", "score", "publish")}
    times = generated.times("download")
    for step in before:
        (generated.folder / generated.manifest_name(step, "000002")).unlink()
    again = generate(generated.folder, SIZE, 2, QUIET)
    assert {step: again.manifest(step, "000002") for step in before} == before
    assert again.times("download") == times
    assert STAGES["download"].process.__module__ == "pipeline.stages.download.stage"


def test_refuses_the_folder_of_another_run(generated: Run) -> None:
    with pytest.raises(RunError, match="name another folder"):
        generate(generated.folder, Size(rows=30_000), 2, QUIET)
    assert json.loads((generated.folder / "generated.json").read_text())["rows"] == SIZE.rows
    assert pq.read_metadata(file_of(generated, "score", "000000")).num_rows > 0
