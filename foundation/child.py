"""What a child process needs to import the packages that this process runs."""

from __future__ import annotations

import os
import site
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]  # the folder that holds zhclip's packages


def python_path(*others: str | None) -> str:
    """The value of PYTHONPATH for a child: a checkout's folder, wherever the child starts, then `others`.

    Packages that are installed need no mention. Naming site-packages would even put it before the standard library, where
    distributions hide modules of that library: img2dataset asks for a backport named dataclasses.
    """
    installed = {Path(folder).resolve() for folder in (*site.getsitepackages(), site.getusersitepackages())}
    return os.pathsep.join(filter(None, (None if HOME in installed else str(HOME), *others)))
