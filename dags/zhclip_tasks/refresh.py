"""Which metadata files a refresh takes. Everything lies in one folder as plain text:

    taken.json          what earlier refreshes have published: name → source → files
    2026-02-01.yaml     the recipe of one refresh: the full one, with only the files that were new on that day
    2026-02-01/         its run

The recipe is written before the work and never again, so that a refresh that is repeated works on the same files.
taken.json is written after it, so that files of a refresh that failed are new to the next one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

Files = Mapping[str, list[str]]  # source → files


class TakenTwice(RuntimeError):
    """A refresh that holds files that another one has published."""


def new_files(listed: Files, taken: Mapping[str, Files]) -> dict[str, list[str]]:
    """The files in `listed` that no refresh in `taken` has, source by source; a source without any is left out."""
    known = {(source, file) for claimed in taken.values() for source, files in claimed.items() for file in files}
    fresh = {source: [file for file in files if (source, file) not in known] for source, files in listed.items()}
    return {source: files for source, files in fresh.items() if files}


def narrowed(recipe: Mapping[str, Any], files: Files) -> dict[str, Any]:
    """The recipe with these files alone: globs become lists, and sources without files go."""
    sources = {name: {**recipe["sources"][name], "files": listed} for name, listed in files.items()}
    return {**recipe, "sources": sources}


def claim(folder: Path, name: str, recipe: Mapping[str, Any], listed: Files) -> Path | None:
    """The recipe file of the refresh `name`, written unless it is there; None where no file is new.

    Raises:
        TakenTwice: the file is there, and names metadata that another refresh has published since.
    """
    path, taken = folder / f"{name}.yaml", read_taken(folder)
    others = {other: files for other, files in taken.items() if other != name}
    if path.exists():
        _refuse_double(path, claimed_files(path), others)
        return path
    files = new_files(listed, taken)
    if not files:
        return None
    text = yaml.safe_dump(narrowed(recipe, files), allow_unicode=True, sort_keys=False)
    write_atomically(path, f"# The metadata files that were new to the refresh {name}\n{text}")
    return path


def record(folder: Path, name: str) -> None:
    """Notes that the refresh `name` is published: its files are new to no later one.

    Raises:
        TakenTwice: another refresh has published some of them.
    """
    path, taken = folder / f"{name}.yaml", read_taken(folder)
    files = claimed_files(path)
    _refuse_double(path, files, {other: files for other, files in taken.items() if other != name})
    write_atomically(folder / "taken.json", json.dumps({**taken, name: files}, indent=1, ensure_ascii=False) + "\n")


def previous(folder: Path, name: str) -> str | None:
    """The published refresh before this one, to be compared with; names are dates, in the order of time."""
    return max((other for other in read_taken(folder) if other < name), default=None)


def read_taken(folder: Path) -> dict[str, dict[str, list[str]]]:
    """What the refreshes of a folder have published; nothing where there was none yet."""
    try:
        taken: dict[str, dict[str, list[str]]] = json.loads((folder / "taken.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return taken


def claimed_files(path: Path) -> dict[str, list[str]]:
    """The files that a refresh's recipe names."""
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {name: list(source["files"]) for name, source in recipe["sources"].items()}


def write_atomically(path: Path, text: str) -> None:
    """Writes a small file so that a reader, or the next refresh after a crash, sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _refuse_double(path: Path, files: Files, others: Mapping[str, Files]) -> None:
    left = new_files(files, others)
    double = [file for source, listed in files.items() for file in listed if file not in left.get(source, ())]
    if double:
        raise TakenTwice(
            f"{path} names what a later refresh has published, such as {double[0]} (files: {len(double)}): "
            f"remove {path} and its run {path.with_suffix('')}, or leave this refresh as it is"
        )
