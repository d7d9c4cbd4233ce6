"""The import contract of the stages follows the registry: what it refuses, on the real imports with one more."""

from __future__ import annotations

from collections.abc import Iterator

import grimp
import pytest

from tools.stage_contract import StagesContract, stage_modules

OPTIONS = {"above": ["reasons | opening", "registry"], "below": ["thresholds", "layout", "base"]}


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("pipeline", cache_dir=None)


@pytest.fixture
def graph(imports: grimp.ImportGraph) -> Iterator[grimp.ImportGraph]:
    return imports.__deepcopy__({})  # type: ignore[no-any-return]


def kept(graph: grimp.ImportGraph) -> bool:
    contract = StagesContract("stages", {"root_packages": ["pipeline"]}, OPTIONS)
    return contract.check(graph, verbose=False).kept


def test_the_stages_stand_in_the_order_of_the_registry(graph: grimp.ImportGraph) -> None:
    assert stage_modules()[:3] == ["translate", "read", "filter"] and stage_modules()[-1] == "publish"
    assert kept(graph)


@pytest.mark.parametrize(
    "importer, imported", [("plan", "score.stage"), ("translate.stage", "read.buckets"), ("base", "plan")]
)
def test_an_arrow_to_a_later_stage_is_refused(graph: grimp.ImportGraph, importer: str, imported: str) -> None:
    graph.add_import(importer=f"pipeline.stages.{importer}", imported=f"pipeline.stages.{imported}")
    assert not kept(graph)


def test_a_module_that_is_no_stage_has_to_be_given_its_layer(graph: grimp.ImportGraph) -> None:
    graph.add_module("pipeline.stages.stray")
    assert not kept(graph)
