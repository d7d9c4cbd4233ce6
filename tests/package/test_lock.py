"""requirements.lock, which make installs by, holds a version that setup.py allows for everything that setup.py names."""

from __future__ import annotations

import re

import setuptools
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import REPOSITORY

LINES = [Requirement(line) for line in (REPOSITORY / "requirements.lock").read_text(encoding="utf-8").splitlines()]


def test_every_requirement_has_a_locked_version_that_it_allows() -> None:
    declared = setuptools.distutils.core.run_setup(str(REPOSITORY / "setup.py"), stop_after="init")
    locked: dict[str, set[str]] = {}
    for line in LINES:
        (pin,) = line.specifier
        locked.setdefault(canonicalize_name(line.name), set()).add(pin.version)
    for requirement in map(Requirement, {*declared.install_requires, *declared.extras_require["dev"]}):
        versions = locked.get(canonicalize_name(requirement.name), set())
        assert versions, f"{requirement.name} is not in requirements.lock: make lock"
        assert all(requirement.specifier.contains(version) for version in versions), (
            f"{requirement}, locked: {versions}"
        )


def test_the_lock_names_versions_and_no_addresses() -> None:
    assert all(len(line.specifier) == 1 and next(iter(line.specifier)).operator == "==" for line in LINES)
    assert not re.search(r"://|--", (REPOSITORY / "requirements.lock").read_text(encoding="utf-8"))
