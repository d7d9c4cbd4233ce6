from __future__ import annotations

import subprocess
import sys

from tests.support.paths import REPOSITORY

ROOT = REPOSITORY


def python(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own: the engine changes img2dataset's modules."""
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_the_downloader_loads_without_the_heavy_imports() -> None:
    script = (
        "import sys; from pipeline.stages.download.engine import load_downloader; module = load_downloader();"
        "assert module.Downloader.__module__ == 'img2dataset.downloader';"
        "print(sorted({'torch', 'albumentations', 'webdataset', 'pandas', 'apache_beam'} & set(sys.modules)))"
    )
    done = python(script)
    assert done.stdout.strip() == "[]", done.stderr


def test_another_signature_or_version_is_refused_loudly() -> None:
    script = (
        "from pipeline.stages.download import engine; module = engine.load_downloader();"
        "module.download_image_with_retry = lambda row, timeout: None; engine.load_downloader()"
    )
    done = python(script)
    assert done.returncode == 1
    assert "download_image_with_retry has parameters 'row timeout'" in done.stderr
    done = python(
        "from pipeline.stages.download import engine; engine.VERSIONS = ((2, 0), (3, 0)); engine.load_downloader()"
    )
    assert done.returncode == 1
    assert "Img2datasetError: img2dataset 1.47" in done.stderr
