"""Check that the packages beside this one are zhclip's: their names are common words that others may use too."""

from __future__ import annotations

import base64
import hashlib
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path

SIBLINGS = ("foundation", "filters", "pipeline", "trainer")


def describe_foreign_sibling() -> str | None:
    """A sentence that names the first package that is not zhclip's and what to do, or None where all are.

    A package is foreign where it lies in another folder than this one (another distribution, or a folder earlier on the
    path), or where its `__init__.py` is not the file that was installed (another distribution wrote over it).
    """
    home = Path(__file__).parents[1]
    for name in SIBLINGS:
        spec = find_spec(name)
        path = Path(spec.origin) if spec and spec.origin else home / name / "__init__.py"
        if path.parent.parent != home or _was_overwritten(path):
            return (
                f"the package `{name}` in {path.parent} is not zhclip's, which has one of that name: uninstall the "
                f"distribution that it belongs to (or take its folder off the path), then install zhclip again"
            )
    return None


def _was_overwritten(path: Path) -> bool:
    """Whether a file differs from what the installation of zhclip noted; False where it noted nothing (a checkout)."""
    try:
        installed = files("zhclip") or []
    except PackageNotFoundError:
        return False
    for file in installed:
        if file.hash and file.parts == path.parts[-2:] and Path(str(file.locate())) == path:
            digest = hashlib.new(file.hash.mode, path.read_bytes()).digest()
            return base64.urlsafe_b64encode(digest).decode().rstrip("=") != file.hash.value
    return False
