"""The pages say what is true: generated ones are current, links lead somewhere, files that are named exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from demo.faults import ALL_KINDS, CLEAN
from pipeline.inspect.catalog.views import VIEWS
from tests.support.paths import REPOSITORY
from tools.docs import generated

DOCS = REPOSITORY / "docs"
PAGES = sorted([*DOCS.glob("*.md"), REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md"])
PLACEHOLDER = re.compile(r"[A-Z]{4}")  # filters/words/CATEGORY.txt
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(
    r"`((?:foundation|filters|pipeline|trainer|zhclip|demo|benchmarks|tests|tools|dags|docs|policies)/[\w./-]*)`"
)


@pytest.mark.parametrize(
    "name", ["docs/recipe.md", "docs/commands.md", "docs/reasons.md", "dags/zhclip_tasks/stages.json"]
)
def test_a_generated_file_is_what_the_code_says_now(name: str) -> None:
    assert (REPOSITORY / name).read_text(encoding="utf-8") == generated()[name], "run: python -m tools.docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    broken = [target for target in LINK.findall(page.read_text(encoding="utf-8")) if not leads_somewhere(page, target)]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    names = [name for name in FILE.findall(page.read_text(encoding="utf-8")) if not PLACEHOLDER.search(name)]
    assert not [name for name in names if not (REPOSITORY / name).exists()]


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, pending = set(), [REPOSITORY / "README.md"]
    while pending:
        page = pending.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            targets = LINK.findall(page.read_text(encoding="utf-8"))
            pending += [(page.parent / target.partition("#")[0]).resolve() for target in targets if "://" not in target]
    assert set(DOCS.glob("*.md")) <= reached


def test_a_captions_way_names_functions_that_exist_in_at_most_15_files() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ \| `(.+?)` \| (.+?) \|", page, re.MULTILINE)
    assert 0 < len({file for file, _ in rows}) <= 15
    for file, functions in rows:
        defined = re.findall(r"^ *(?:def|class) (\w+)", (REPOSITORY / file).read_text(encoding="utf-8"), re.MULTILINE)
        for name in re.findall(r"`(.+?)`", functions):
            assert set(name.split(".")) <= set(defined), f"{file} has no {name}"


def test_a_commit_is_held_to_what_the_lint_step_runs() -> None:
    hooks = (REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (recipe,) = re.findall(
        r"^lint:.*\n((?:\t.*\n)+)", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    commands = [line.strip().removeprefix("$(BIN)/").removesuffix(" .") for line in recipe.splitlines()]
    assert len(commands) >= 4
    assert not [command for command in commands if f".venv/bin/{command}" not in hooks]


def test_the_demos_table_names_the_stages_and_numbers_of_its_kinds() -> None:
    page = (DOCS / "demo.md").read_text(encoding="utf-8")
    kinds = {kind.name: (kind.stage, kind.count) for kind in ALL_KINDS}
    rows = re.findall(r"^    │ (.+?) +│ (\w+) +│ +(\d+) │", page, re.MULTILINE)
    assert len(rows) >= 4 and {name: (stage, int(planted)) for name, stage, planted in rows}.items() <= kinds.items()
    assert f"{len(set(kinds) - {CLEAN.name})} kinds of planted faults" in " ".join(page.split())


def test_the_table_of_views_has_all_of_them() -> None:
    named = re.findall(r"^\| `(\w+)` \|", (DOCS / "sql.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(VIEWS)


def test_filters_are_used_alone_as_the_page_says() -> None:
    (code,) = re.findall(
        r"```python\n(from filters.*?)```", (DOCS / "curation.md").read_text(encoding="utf-8"), re.DOTALL
    )
    names: dict[str, Any] = {"table": pa.table({"caption": ["一只小猫坐在窗台上", "短"]})}
    exec(code, names)
    assert names["kept"]["caption"].to_pylist() == ["一只小猫坐在窗台上"]
    assert names["rejected"]["reasons"].to_pylist() == [["caption_too_short"]]
    assert names["Blacklist"]().matches("廠家直銷，加微信")


def leads_somewhere(page: Path, target: str) -> bool:
    """Whether a link's file exists, and its heading where it names one; other hosts are not asked."""
    if "://" in target:
        return True
    name, _, heading = target.partition("#")
    path = page.parent / name if name else page
    return path.exists() and (not heading or heading in anchors(path))


def anchors(page: Path) -> set[str]:
    """A page's headings, as links spell them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
