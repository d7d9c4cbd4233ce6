"""What a job needs beside the core, as the installed distribution declares it: setup.py is the one list."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from foundation.errors import InvalidInput


class MissingExtra(InvalidInput):
    """A job whose packages are not installed; the message names the first of them and the command that installs all."""


def need(extra: str, job: str) -> None:
    """Check that all packages of an extra are installed.

    A checkout on the path that was never installed declares nothing, so nothing is checked there.

    Args:
        extra: a key of `extras_require` in setup.py.
        job: what asks for it, as a person types it, such as `zhclip score`.

    Raises:
        MissingExtra: a package is not installed.
    """
    missing = missing_packages(extra)
    if missing:
        raise MissingExtra(f"{job} needs {missing[0]}: pip install 'zhclip[{extra}]'")


def missing_packages(extra: str) -> list[str]:
    """Names of an extra's packages that are not installed, in the order in which setup.py names them."""
    return [name for name in _packages(extra) if not _is_installed(name)]


def _packages(extra: str) -> list[str]:
    try:
        declared = [Requirement(text) for text in requires("zhclip") or []]
    except PackageNotFoundError:
        return []
    markers = [(requirement.name, requirement.marker) for requirement in declared]
    return [name for name, marker in markers if marker and "extra" in str(marker) and marker.evaluate({"extra": extra})]


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
