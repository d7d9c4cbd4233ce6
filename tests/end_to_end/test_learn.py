"""The demo's second half, shortened to a few steps: corpora, trainings, recall table, ablation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from demo import learn
from demo.corpora import Corpora, build_corpora, is_unseen
from demo.drawings import load_drawings
from demo.learn import Learning, StageFailed, evaluations, zhclip
from pipeline.run.folder import Run
from pipeline.stages.opening import read_run
from tests.support import warm
from tests.support.runs import Site
from trainer.checkpoint import checkpoints, open_model

pytestmark = pytest.mark.e2e

SHORT = ("--set", "stages.0.steps=3", "--set", "stages.0.batch_size=32", "--set", "data.workers=0")


@pytest.fixture(scope="module", autouse=True)
def warm_processes() -> Iterator[None]:
    """The demo's commands start warm."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learn, "subprocess", SimpleNamespace(run=lambda command, check: warm.run(command)))  # noqa: ARG005
        yield


@pytest.fixture(scope="module")
def uncurated(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("uncurated") / "run"
    done = site.curate(folder, recipe="demo/recipes/demo_uncurated.yaml")
    assert done.returncode == 0, done.stderr
    return read_run(folder)


@pytest.fixture(scope="module")
def corpora(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Corpora:
    return build_corpora(tmp_path_factory.mktemp("corpora") / "training", site.world.truth, share=0.06)


@pytest.fixture(scope="module")
def learnt(
    corpora: Corpora, finished: Run, uncurated: Run, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("learnt") / "out"
    console = Console(record=True, width=160)
    folders = (finished.folder / "dataset", uncurated.folder / "dataset")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        Learning(corpora, *folders, out, seeds=2, options=SHORT).run(console)
    return out, console.export_text()


def test_uncurated_set_keeps_whatever_could_be_fetched(site: Site, uncurated: Run) -> None:
    published = str(uncurated.folder / "dataset" / "*.parquet")
    query = """
        select t.stage, count(d.key) = count(*) as kept from read_parquet($truth) t
        left join read_parquet($published) d on parse_filename(d.file) = t.file and d.row = t.row
        where t.fault not in ('duplicate pair', 'url missing', 'url malformed', 'scheme', 'private address',
                              'private by name') and t.stage != 'read'
        group by all
    """
    kept_by_stage = duckdb.sql(query, params={"truth": str(site.world.truth), "published": published}).fetchall()
    assert dict(kept_by_stage) == {"none": True, "filter": True, "select": True, "download": False}


def test_unseen_concepts_and_style_are_in_no_training(corpora: Corpora, finished: Run) -> None:
    unseen = {drawing.hexcode for drawing in load_drawings() if is_unseen(drawing)}
    assert 0.15 < len(unseen) / 1644 < 0.25
    english = pq.read_table(corpora.english / "000000.parquet")
    assert "twemoji" not in english["source"].to_pylist()
    judged = [path.stem for path in corpora.unseen.glob("*.jpg")]
    assert judged and set(judged) <= unseen
    assert not unseen & {path.stem for path in corpora.seen.glob("*.jpg")}
    curated = str(finished.folder / "dataset" / "*.parquet")
    links = [url for (url,) in duckdb.sql(f"select url from '{curated}' where {corpora.where}").fetchall()]
    assert links and not [url for url in links for code in judged if f"/{code}." in url or f"-{code}." in url]


def test_demo_ends_with_checkpoint_table_and_pictures(learnt: tuple[Path, str]) -> None:
    out, text = learnt
    for row in ("chance", "before stage 1", "after stage 1", "after stage 2", "from scratch"):
        assert row in text
    assert open_model(checkpoints(out / "chinese")[-1]).config.embed_dim == 256
    assert (out / "chinese" / "curve.png").stat().st_size > 10_000
    assert (out / "ablation" / "ablation.png").stat().st_size > 10_000
    arms = json.loads((out / "ablation" / "ablation.json").read_text(encoding="utf-8"))["results"]
    assert {(arm["data"], arm["seed"], arm["steps"]) for arm in arms} == {
        (data, seed, 3) for data in ("curated", "uncurated") for seed in (0, 1)
    }


def test_curve_begins_before_the_first_step(learnt: tuple[Path, str]) -> None:
    curve = evaluations(learnt[0] / "chinese", "stage-1")["unseen"]
    assert curve[0]["pairs_seen"] == 0
    assert curve[-1]["pairs_seen"] == 3 * 32


def test_failed_command_is_named() -> None:
    with pytest.raises(StageFailed, match="train nowhere"):
        zhclip("train", "nowhere", "--out", "nowhere")
