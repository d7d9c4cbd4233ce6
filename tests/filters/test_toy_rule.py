"""A new rule is one module and one field: shown on a copy of the packages."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.support.packages import Packages

RULE = '''
"""Captions that end with an odd digit."""

import pyarrow.compute as pc

from filters.base import Filter
from foundation.config import value


class OddDigit(Filter):
    """Rejects captions that end with an odd digit."""

    reasons = {"odd_digit": "the caption ends with an odd digit"}
    columns = ("caption",)
    digits: str = value("13579", "the digits that reject")

    def rejects(self, pairs):
        return {"odd_digit": pc.fill_null(pc.match_substring_regex(pairs["caption"], f"[{self.digits}]$"), False)}
'''

pytestmark = [pytest.mark.slow, pytest.mark.e2e]


def test_a_rule_is_one_module_and_one_field(tmp_path: Path) -> None:
    packages = Packages.copied_to(tmp_path / "packages")
    (packages.folder / "filters" / "odd_digit.py").write_text(RULE, encoding="utf-8")
    packages.add_line("filters/rules.py", "class Rules", "from filters.odd_digit import OddDigit\n\n")
    packages.add_line("filters/rules.py", "@classmethod", 'odd_digit: OddDigit | None = value(None, "odd digits")\n')
    rows = "".join(f"http://images.example/{number}.jpg,一张测试用的图片{number}\n" for number in range(20))
    (tmp_path / "pairs.csv").write_text(f"url,caption\n{rows}", encoding="utf-8")
    source = {"kind": "table", "files": [str(tmp_path / "pairs.csv")], "rules": {"odd_digit": {"digits": "135"}}}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"sources": {"table": source}}, allow_unicode=True), encoding="utf-8")
    status = json.loads(packages.zhclip("plan", str(recipe), "--run", str(tmp_path / "run"), "--json"))
    (reason,) = status["reasons"]
    assert (reason["stage"], reason["reason"], reason["pairs"], reason["only_reason"]) == ("filter", "odd_digit", 6, 6)
    (planned,) = (pq.read_table(path) for path in (tmp_path / "run" / "plan").glob("*.parquet"))
    assert {text[-1] for text in planned["caption"].to_pylist()} == set("0246789")
    assert "the caption ends with an odd digit" in packages.zhclip("reasons")
    shown = packages.zhclip("recipe", "show", str(recipe))
    assert "odd_digit:" in shown and "the digits that reject" in shown
    done = packages.command("recipe", "show", str(recipe), "--set", "sources.table.rules.odd_digits={}")
    assert done.returncode == 2 and "did you mean `odd_digit`?" in done.stderr
