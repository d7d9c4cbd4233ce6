"""The runs that are served: one, or all in a folder. A name from a request becomes a folder here, and nowhere else."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

import yaml

from foundation.errors import InvalidInput
from pipeline.run.manifest import RunError
from pipeline.run.names import RECIPE_FILE
from pipeline.serve.live_run import LiveRun

MAX_NAME = 255  # bytes, of most file systems


class NoSuchRun(InvalidInput, LookupError):
    """No run of that name is served."""


@dataclass(frozen=True)
class RunEntry:
    """A run in the list, or the problem that keeps it from being shown."""

    name: str
    live_run: LiveRun | None
    problem: str = ""


class RunIndex:
    """The run in a folder, or all runs directly below it. Thread-safe."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._runs: dict[str, LiveRun] = {}
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Names of the runs that are served, in order."""
        return [name for name, folder in self._folders().items() if not self._problem(folder)]

    def runs(self) -> list[RunEntry]:
        """An entry for each run, also for one that cannot be read, and for each link that leads out of the root or nowhere."""
        return [self._entry(name, folder) for name, folder in self._folders().items()]

    def get(self, name: str) -> LiveRun:
        """The run of that name.

        Raises:
            NoSuchRun: there is none, or its folder lies outside the root.
            RunError: it cannot be read.
        """
        folder = self.root / name if _can_be_served(name) and _is_run(self.root / name) else self._folders().get(name)
        if folder is None or self._problem(folder):
            raise NoSuchRun(name)
        with self._lock:
            live_run = self._runs.get(name)
            if live_run is None or live_run.stale:
                self._runs[name] = live_run = _open(folder)
            return live_run

    def _folders(self) -> dict[str, Path]:
        """Name → folder of each run and of each link that leads nowhere, hidden ones apart.

        The root is a run itself where it has a recipe and there is no run below it.
        """
        folders = [path for path in sorted(self.root.iterdir()) if not path.name.startswith(".")]
        below = {path.name: path for path in folders if _is_run(path) or _leads_nowhere(path)}
        if not _is_run(self.root) or any(map(_is_run, below.values())):
            return below
        return {self.root.name if _can_be_served(self.root.name) else "run": self.root}

    def _problem(self, folder: Path) -> str:
        """Why a run is not served, empty where it is."""
        if _leads_nowhere(folder):
            return f"a symbolic link to {_printable(str(folder.readlink()))}, which is not there"
        if not folder.resolve().is_relative_to(self.root):
            return f"a symbolic link out of {self.root}, which is not followed; serve its target instead"
        if folder != self.root and not _can_be_served(folder.name):
            return "its name has a character that cannot be shown, so it has no address; rename the folder"
        return ""

    def _entry(self, name: str, folder: Path) -> RunEntry:
        if problem := self._problem(folder):
            return RunEntry(_printable(name), None, problem)
        try:
            return RunEntry(name, self.get(name))
        except (NoSuchRun, RunError) as error:
            return RunEntry(name, None, str(error))


def _is_run(folder: Path) -> bool:
    return (folder / RECIPE_FILE).is_file()


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _can_be_served(name: str) -> bool:
    """Whether a name, which may come from a request, is that of one visible folder and can stand in pages and headers."""
    alone = bool(name) and not name.startswith(".") and "/" not in name
    return alone and name.isprintable() and len(os.fsencode(name)) <= MAX_NAME


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]


def inside(folder: Path, name: str) -> Path:
    """The resolved path of a run's file.

    Raises:
        FileNotFoundError: there is none, or a link leads out of the run's folder.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise FileNotFoundError(name)
    return path


def _open(folder: Path) -> LiveRun:
    try:
        return LiveRun(folder)
    except (ValueError, OSError, yaml.YAMLError) as error:
        raise RunError(
            f"recipe.yaml cannot be read: {type(error).__name__}; `zhclip recipe show` tells more"
        ) from error
