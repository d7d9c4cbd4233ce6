"""A copy of the packages, to show what an addition to them takes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support import warm
from tests.support.paths import REPOSITORY

PACKAGES = ("foundation", "filters", "pipeline", "trainer", "zhclip")


@dataclass(frozen=True)
class Packages:
    """Copies of the packages, in a folder that comes first for `python` and `zhclip` here."""

    folder: Path

    @classmethod
    def copied_to(cls, folder: Path) -> Packages:
        for name in PACKAGES:
            shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        return cls(folder)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}

    def add_line(self, file: str, before: str, line: str) -> None:
        """Put a line in front of the first one that begins (but for blanks) with `before`."""
        path = self.folder / file
        lines = path.read_text(encoding="utf-8").splitlines()
        position = next(number for number, text in enumerate(lines) if text.strip().startswith(before))
        indent = lines[position][: len(lines[position]) - len(lines[position].lstrip())]
        path.write_text("\n".join([*lines[:position], indent + line, *lines[position:], ""]), encoding="utf-8")

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """Runs some code."""
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of zhclip."""
        return warm.run([sys.executable, "-m", "zhclip", *words], self.folder, self.environment)

    def zhclip(self, *words: str) -> str:
        """What a command prints, which has to succeed."""
        done = self.command(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
