"""Refuse names of variables that say nothing: `found` tells that something was looked for, never what it is.

    python tools/check_names.py [--paths PATH ...]

A name is refused where it is bound: assignments, parameters, functions and classes, and the targets of loops,
comprehensions, `with`, `except`, imports and patterns. Attributes and keywords of calls are free. Without paths the
whole repository is checked. Exit code 1 with one line for each place, else 0.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

REFUSED = frozenset({"found", "one", "whole", "mine", "theirs", "place", "some", "few"})
REPOSITORY = Path(__file__).resolve().parent.parent
SKIPPED = frozenset({"build", "dist", "node_modules", "__pycache__"})


def main(arguments: list[str] | None = None) -> int:
    """Print every refused name below the given paths; the exit code says whether there was one."""
    parser = argparse.ArgumentParser(description="Refuse names of variables that say nothing.")
    parser.add_argument("--paths", nargs="+", type=Path, default=[REPOSITORY])
    complaints = [line for path in python_files(parser.parse_args(arguments).paths) for line in complaints_of(path)]
    for line in complaints:
        print(line)
    return 1 if complaints else 0


def python_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The Python files at and below `paths`, without hidden and built folders, in order."""
    for path in paths:
        if not path.exists():
            raise SystemExit(f"{path}: no such file or folder")
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            folders = file.relative_to(path).parts[:-1] if path.is_dir() else ()
            if not any(name.startswith(".") or name in SKIPPED for name in folders):
                yield file


def complaints_of(path: Path) -> list[str]:
    """One line for each refused name in a file, in the order of its lines."""
    tree = ast.parse(path.read_bytes(), filename=str(path))
    names = sorted((line, name) for node in ast.walk(tree) for name, line in bound_names(node) if name in REFUSED)
    return [f"{path}:{line}: `{name}` is refused as a name: write the noun it holds" for line, name in names]


def bound_names(node: ast.AST) -> Iterator[tuple[str, int]]:
    """The names that a node itself binds, each with its line."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()):
            yield name, node.lineno
        case ast.arg(arg=name):
            yield name, node.lineno
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name, node.lineno
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name, node.lineno
        case ast.MatchMapping(rest=str(name)):
            yield name, node.lineno
        case ast.Import() | ast.ImportFrom():
            yield from ((alias.asname, node.lineno) for alias in node.names if alias.asname)


if __name__ == "__main__":
    sys.exit(main())
