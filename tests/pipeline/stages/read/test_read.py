"""The read stage on small files, through the run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.inspect.funnel import source_funnels
from pipeline.recipe import Recipe
from pipeline.run.folder import Run
from pipeline.runners.driver import run_stages
from pipeline.stages.opening import open_run
from tests.support.paths import file_of


def plan(folder: Path, source: dict[str, Any]) -> Run:
    """A run whose one source is planned, however much of it is damaged."""
    recipe = Recipe.model_validate({"sources": {"pictures": source}, "limits": {"unreadable_share": 1}})
    run, _ = open_run(folder / "run", recipe)
    run_stages(run, ("plan",), 1, [], lambda *_: None)
    return run


def planned(run: Run) -> list[str]:
    """Captions in plan/."""
    shards = sorted(run.done("plan"))
    return [text for shard in shards for text in pq.read_table(file_of(run, "plan", shard))["caption"].to_pylist()]


@pytest.mark.parametrize(
    "source, content, rows",
    [
        ({"kind": "coco"}, {"images": [], "annotations": ["no object", 3]}, 2),
        ({"kind": "coco", "captions": "coco_cn"}, "no such line\n\n", 1),
        (
            {"kind": "visual_genome", "image_data": "{}/image_data.json", "pairs": "joined"},
            [3, {"id": 2}],
            2,
        ),
        ({"kind": "wukong"}, "url,caption\n", 0),
    ],
    ids=["coco", "coco_cn", "visual_genome", "csv"],
)
def test_a_file_without_a_single_good_row_ends_no_run(
    tmp_path: Path, source: dict[str, Any], content: Any, rows: int
) -> None:
    (tmp_path / "file").write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    (tmp_path / "image_data.json").write_text('[{"image_id": 1, "url": "http://a.example/1.jpg"}]')
    values = {key: value.replace("{}", str(tmp_path)) for key, value in source.items()}
    run = plan(tmp_path, {**values, "files": [str(tmp_path / "file")]})
    (funnel,) = source_funnels(run)
    assert funnel.read == rows
    assert planned(run) == []
