"""A manifest: what one shard of one stage holds. Readers trust manifests alone, so a manifest is checked as it is read."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePosixPath
from typing import Any

from foundation import __version__
from foundation.errors import InvalidInput
from pipeline.run.names import LEDGER

RECORDED_VERSIONS = ("apache-beam", "pyarrow", "polars", "duckdb", "img2dataset", "torch", "open_clip_torch")
CONTENT_DIGITS = 12  # of a file's SHA-256, in its name


class RunError(InvalidInput):
    """A run that cannot be used as asked; the message says what to do."""


@dataclass(frozen=True)
class Manifest:
    """What one shard of one stage holds. Files are named relative to the run."""

    stage: str
    shard: str
    digest: str  # of the recipe, up to this stage
    counts: dict[str, Any]  # rows in and out; `sources` has them by source
    files: dict[str, dict[str, Any]]  # name → {"bytes": int, "sha256": hex}
    scratch: list[str] = field(default_factory=list)  # files that a later stage removes when it has used them
    versions: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def from_json(text: str | bytes) -> Manifest:
        """The inverse of `to_json`.

        Raises:
            ValueError: the text is no manifest; the message says why.
        """
        content = json.loads(text)
        names = [each.name for each in fields(Manifest)]
        if not isinstance(content, dict) or sorted(content) != sorted(names):
            raise ValueError("its names are not those of a manifest")
        manifest = Manifest(**content)
        texts = [manifest.stage, manifest.shard, manifest.digest, *manifest.files, *manifest.scratch]
        sizes = [described["bytes"] if _is_described(described) else None for described in manifest.files.values()]
        if not all(isinstance(text, str) for text in texts) or not all(type(size) is int for size in sizes):
            raise ValueError("its values are not of the kinds that a manifest has")
        if not isinstance(manifest.versions, dict) or not _are_counts(manifest.counts):
            raise ValueError("its counts or versions are not those of a manifest")
        return manifest

    def to_json(self) -> str:
        """The manifest as it is stored, without anything that differs between two runs on the same input."""
        return json.dumps(self.__dict__, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    def file(self, ending: str) -> str:
        """The name of its file with an ending such as `.parquet`, its ledger aside.

        Raises:
            RunError: it names none.
        """
        name = self.find(ending)
        if name is None:
            raise RunError(_lacks(self, ending))
        return name

    def find(self, ending: str) -> str | None:
        """As `file`; None where it names none."""
        return next((name for name in self.files if not is_ledger(name) and ending_of(name) == ending), None)

    def scratch_file(self, ending: str) -> str:
        """As `file`, of a file that a later stage removes."""
        for name in self.scratch:
            if ending_of(name) == ending:
                return name
        raise RunError(_lacks(self, ending))

    @property
    def ledger(self) -> str | None:
        """The name of its ledger file; None where its stage loses no rows."""
        return next(filter(is_ledger, self.files), None)


def parse_manifest(content: bytes, address: str, name: str, folders: Collection[str]) -> Manifest:
    """The manifest that a file holds.

    Args:
        content: of the file.
        address: of the run, for messages.
        name: of the file, in the run; its last part is SHARD.json.
        folders: those that the files of its stage lie in; no manifest can name a file outside of them, or of another shard.

    Raises:
        RunError: it is damaged, or names a file that cannot be its own.
    """
    where = f"{address}/{name}"
    try:
        manifest = Manifest.from_json(content)
    except (ValueError, TypeError, RecursionError, AttributeError) as error:
        raise RunError(damaged_manifest(where, error)) from None
    if name != f"{PurePosixPath(name).parent}/{manifest.shard}.json":
        raise RunError(damaged_manifest(where, f"it says that it is of shard {manifest.shard!r}"))
    for file in [*manifest.files, *manifest.scratch]:
        folder, _, last = file.rpartition("/")
        if folder not in folders or not re.fullmatch(rf"{re.escape(manifest.shard)}(-[0-9a-f]+)?(\.[a-z0-9_]+)+", last):
            raise RunError(damaged_manifest(where, f"it names {file!r}, which is no file of this shard"))
    return manifest


def ending_of(name: str) -> str:
    """`.parquet` of `plan/000123-3f2a9c0d1e2f.parquet`: all from the first dot of the last part on."""
    return "." + name.rpartition("/")[2].partition(".")[2]


def is_ledger(name: str) -> bool:
    """Whether a file that a manifest names is a ledger."""
    return name.startswith(f"{LEDGER}/")


@lru_cache(maxsize=1)
def recorded_versions() -> dict[str, str]:
    """Versions of those packages that decide what a shard holds and are installed: a download worker has no torch."""
    versions = {"zhclip": __version__}
    for name in RECORDED_VERSIONS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _lacks(manifest: Manifest, ending: str) -> str:
    return f"the manifest of {manifest.stage} {manifest.shard} names no {ending} file; run `zhclip verify`"


def damaged_manifest(name: str, reason: object) -> str:
    """What is said of a manifest that cannot be read."""
    return f"{name}: damaged, no manifest of a shard ({reason}); remove it, and `zhclip curate` makes the shard again"


def _is_described(described: Any) -> bool:
    """Whether something is what a manifest says of a file."""
    return isinstance(described, dict) and set(described) == {"bytes", "sha256"}


def _are_counts(counts: Any) -> bool:
    """Whether something has the form of a manifest's counts: rows in and out and, where there are sources, rows of each."""
    if not isinstance(counts, dict) or not all(type(counts.get(name, 0)) is int for name in ("in", "out")):
        return False
    sources = counts.get("sources", {})
    return isinstance(sources, dict) and all(
        isinstance(rows, dict) and all(type(number) is int for number in rows.values()) and {"in", "out"} <= set(rows)
        for rows in sources.values()
    )
