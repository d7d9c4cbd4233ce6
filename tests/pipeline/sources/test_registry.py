"""A new kind of source is one module and one line in the registry: shown on a copy of the packages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources.registry import KINDS, SOURCE_KINDS
from tests.support.packages import Packages

pytestmark = pytest.mark.slow

MODULE = '''
"""Lines of url<TAB>caption; of url<TAB>English text where there is a translation, by its url."""

from typing import Literal

import numpy as np
import pyarrow as pa

from foundation.config import value
from pipeline.sources.base import Source
from pipeline.sources.columns import as_singleton_lists
from pipeline.sources.files import open_file
from pipeline.sources.splits import Block, Unreadable
from pipeline.sources.translation import Translation


class LinesSource(Source):
    """Lines of url and caption."""

    kind: Literal["lines"]
    separator: str = value("\\t", "between url and caption")
    translation: Translation | None = value(None, "where the Chinese comes from")

    @property
    def translated_by(self):
        return self.translation

    def read_split(self, split):
        with open_file(split.file) as file:
            lines = file.read().decode().splitlines()
        parts = [(row, line.split(self.separator)) for row, line in enumerate(lines)]
        good = [(row, *cells) for row, cells in parts if len(cells) == 2]
        text = "english" if self.translation else "caption"
        columns = {"url": [url for _, url, _ in good], text: [text for _, _, text in good]}
        yield Block(pa.table(columns), np.array([row for row, _, _ in good]))
        for row, cells in parts:
            if len(cells) != 2:
                yield Unreadable(row, 1, "malformed_row", f"{len(cells)} cells")

    def required_columns(self):
        return ("url",)

    def english(self, raw):
        return as_singleton_lists(raw["english"].combine_chunks()) if self.translation else None

    def text_ids(self, raw):
        return [as_singleton_lists(raw["url"].combine_chunks())]
'''


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """A copy of the packages with the kind `lines`."""
    packages = Packages.copied_to(tmp_path_factory.mktemp("copy"))
    (packages.folder / "pipeline/sources/lines.py").write_text(MODULE)
    assert (packages.folder / "pipeline/sources/registry.py").read_text().count(f'    "{KINDS[-1]}",\n') == 1
    packages.add_line("pipeline/sources/registry.py", f'"{KINDS[-1]}",', '"pipeline.sources.lines:LinesSource",')
    return packages


def planned(run: Path) -> list[dict[str, Any]]:
    """The rows of plan/, in the order of source and row."""
    tables = [pq.read_table(path) for path in sorted((run / "plan").glob("*.parquet"))]
    return pa.concat_tables(tables).sort_by([("source", "ascending"), ("row", "ascending")]).to_pylist()


RECIPE = """
sources:
  plain: {kind: lines, files: [plain.lines]}
  english: {kind: lines, files: [english.lines], translation: {files: [zh.json]}, license: cc0}
limits: {unreadable_share: 0.5}
"""


def test_a_new_kind_of_source_is_one_module_and_one_line(packages: Packages) -> None:
    copy = packages.folder
    (copy / "plain.lines").write_text(
        "http://a.example/1.jpg\t一只小猫在睡觉\nno such line\nhttp://a.example/2.jpg\tdog\n"
    )
    (copy / "english.lines").write_text("http://b.example/1.png\ta sleeping cat\nhttp://b.example/2.png\ta dog\n")
    (copy / "zh.json").write_text('{"http://b.example/1.png": "小猫正在窗边睡觉"}')
    (copy / "recipe.yaml").write_text(RECIPE)
    done = packages.command("plan", "recipe.yaml", "--run", "run", "--json")
    assert done.returncode == 0, done.stderr
    rows = [(row["source"], row["row"], row["caption"], row["english"]) for row in planned(copy / "run")]
    assert rows == [("english", 0, "小猫正在窗边睡觉", "a sleeping cat"), ("plain", 0, "一只小猫在睡觉", None)]
    status = packages.command("status", "run", "--json")
    reasons = {(row["source"], row["reason"]) for row in json.loads(status.stdout)["reasons"]}
    assert {("plain", "malformed_row"), ("plain", "caption_too_short"), ("english", "not_translated")} <= reasons
    assert json.loads((copy / "run/layout.json").read_text())["lists"].keys() == {"zh.json"}


def test_mistakes_in_a_recipe_are_told_for_a_new_kind_too(packages: Packages) -> None:
    (packages.folder / "mistake.yaml").write_text(
        "sources:\n  a:\n    kind: lines\n    files: [x]\n    seperator: ' '\n"
    )
    told = packages.command("recipe", "show", "mistake.yaml")
    assert told.returncode == 2
    assert "mistake.yaml:5" in told.stderr
    assert "did you mean `separator`?" in told.stderr


def test_every_kind_is_registered_under_its_own_name() -> None:
    assert list(SOURCE_KINDS) == ["laion", "wukong", "table", "coco", "visual_genome"]
    assert [f"{source.__module__}:{source.__name__}" for source in SOURCE_KINDS.values()] == list(KINDS)
