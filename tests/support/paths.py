"""Where things lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.run.folder import Run

REPOSITORY = Path(__file__).resolve().parents[2]


def file_of(run: Run, stage: str, shard: str, ending: str = ".parquet") -> Path:
    """A file that the manifest of a shard names, or the manifest itself (`.json`)."""
    return run.folder / (run.manifest_name(stage, shard) if ending == ".json" else run.file(stage, shard, ending))


def ledger_of(run: Run, stage: str, shard: str) -> Path:
    """The ledger of a shard."""
    manifest = run.manifest(stage, shard)
    assert manifest and manifest.ledger
    return run.folder / manifest.ledger
