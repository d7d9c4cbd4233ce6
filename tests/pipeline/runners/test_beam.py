"""Items that fail are named in a sentence, whatever else cannot be written."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from foundation.storage import Disk, StorageError
from pipeline.recipe import Recipe
from pipeline.run.folder import Item
from pipeline.runners.beam import StageFailed, run_items
from pipeline.stages.opening import open_run


class Full(Disk):
    """A disk without room."""

    def put(self, name: str, content: bytes | Path) -> None:  # noqa: ARG002
        """Fails."""
        raise StorageError(f"{self.folder / name} cannot be written: {os.strerror(errno.ENOSPC)}", errno.ENOSPC)


def test_where_no_error_can_be_written_a_sentence_says_so(tmp_path: Path) -> None:
    source = {"kind": "wukong", "files": ["x.csv"]}
    run, _ = open_run(tmp_path / "run", Recipe.model_validate({"sources": {"wukong": source}}))
    full = replace(run, storage=Full(run.folder))
    with pytest.raises(StageFailed) as caught:
        run_items(full, "select", [Item("000000"), Item("000001")], 2)
    lines = str(caught.value).splitlines()
    assert lines[0] == "2 items of the select stage failed; all others are committed."
    assert "000000: " in lines[1] and "RunError" in lines[1] and "is not done" in lines[1], lines
    assert "could not be written" in lines[1] and "No space left" in lines[1] and "Traceback" not in str(caught.value)
    assert lines[-1] == "Run the same command again to continue."
