"""Files of a run are opened by its storage, and by nothing else: that is what lets a run lie anywhere."""

from __future__ import annotations

import ast

import pytest

from tests.support.paths import REPOSITORY

SERVICE = "pipeline/serve/"  # DuckDB, in a sandbox that names folders, reads runs of the service: those lie on a disk
MODULES = [
    path.relative_to(REPOSITORY).as_posix()
    for path in sorted((REPOSITORY / "pipeline").rglob("*.py"))
    if not path.relative_to(REPOSITORY).as_posix().startswith((SERVICE, "pipeline/run/folder.py"))
]


@pytest.mark.parametrize("module", MODULES)
def test_it_asks_no_run_for_its_folder(module: str) -> None:
    """`Run.folder` is the one way from a run to a path."""
    tree = ast.parse((REPOSITORY / module).read_text(encoding="utf-8"))
    asked = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "folder" and ast.unparse(node.value).split(".")[-1] == "run"
    ]
    assert asked == []


def test_no_lock_is_left() -> None:
    imports = [
        f"{module}: {name.name}"
        for module in MODULES
        for node in ast.walk(ast.parse((REPOSITORY / module).read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
        if name.name in ("fcntl", "flock")
    ]
    assert imports == []
