"""The runs that are served: a folder of them, or one. A name from a request becomes a folder here, and nowhere else."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path

import yaml

from foundation.errors import InvalidInput
from pipeline.run.folder import RunError
from pipeline.serve.watched import Watch

NAME = re.compile(r"\w[\w.+=@-]{0,99}")


class NoSuchRun(InvalidInput, LookupError):
    """No run of that name is served."""


@dataclass(frozen=True)
class Listed:
    """A run in the list: what is seen of it, or why nothing is."""

    name: str
    watch: Watch | None
    problem: str = ""


class Shelf:
    """All runs below one folder. Thread-safe."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.single = (self.root / "recipe.yaml").is_file()
        self._watches: dict[str, Watch] = {}
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Names of the folders that are runs, in order."""
        if self.single:
            return [self._single_name()]
        return sorted(path.name for path in self.root.iterdir() if self._serves(path))

    def runs(self) -> list[Listed]:
        """All runs, also those that cannot be read."""
        return [self._listed(name) for name in self.names()]

    def get(self, name: str) -> Watch:
        """The run of that name.

        Raises:
            NoSuchRun: there is none, or its folder lies elsewhere.
            RunError: it cannot be read.
        """
        folder = self._folder(name)
        with self._lock:
            watch = self._watches.get(name)
            if watch is None or watch.stale:
                self._watches[name] = watch = _open(folder)
            return watch

    def _folder(self, name: str) -> Path:
        if self.single and name == self._single_name():
            return self.root
        if self.single or not NAME.fullmatch(name) or not self._serves(self.root / name):
            raise NoSuchRun(name)
        return self.root / name

    def _serves(self, path: Path) -> bool:
        """Whether it is a run, with a plain name, that does not lead out of the root."""
        plain = NAME.fullmatch(path.name) is not None
        return plain and (path / "recipe.yaml").is_file() and path.resolve().is_relative_to(self.root)

    def _single_name(self) -> str:
        return self.root.name if NAME.fullmatch(self.root.name) else "run"

    def _listed(self, name: str) -> Listed:
        try:
            return Listed(name, self.get(name))
        except (NoSuchRun, RunError) as error:
            return Listed(name, None, str(error))


def inside(folder: Path, name: str) -> Path:
    """A file of a run, wherever links on the way lead.

    Raises:
        FileNotFoundError: there is none, or it lies outside of the run's folder.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise FileNotFoundError(name)
    return path


def _open(folder: Path) -> Watch:
    try:
        return Watch(folder)
    except (ValueError, OSError, yaml.YAMLError) as error:
        raise RunError(
            f"recipe.yaml cannot be read: {type(error).__name__}; `zhclip recipe show` tells more"
        ) from error
