"""The names of what lies in a run folder stand in one list."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.run import names
from tests.support.paths import REPOSITORY

NAMES = [text for name, text in vars(names).items() if name.isupper()]
TEMPLATE = "page.py"  # names a template of its own `report.html`


def literals(path: Path) -> Iterator[str]:
    """The strings of a module, and the fixed parts of its f-strings, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def pattern(name: str) -> str:
    """A file's name as a path ends in it, or a folder's as a path goes through it; a plain word alone may mean other things."""
    end = "(/|$)" if "." in name else "/"
    return rf"(^|/){re.escape(name)}{end}"


def test_no_module_spells_them_again() -> None:
    spelt = [
        f"{path.relative_to(REPOSITORY)}: {text}"
        for path in sorted((REPOSITORY / "pipeline").rglob("*.py"))
        if path.name not in ("names.py", TEMPLATE)
        for text in literals(path)
        if not re.search(r"\s\S*\s", text) and any(re.search(pattern(name), text) for name in NAMES)
    ]
    assert spelt == []
