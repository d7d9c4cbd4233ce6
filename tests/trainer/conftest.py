"""What several processes that train together computed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import warm


@pytest.fixture(scope="module")
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    """What each of the module's RANKS processes saved: `rank_main(rank, folder)` writes FOLDER/RANK.pt."""
    import torch

    folder: Path = tmp_path_factory.mktemp("ranks")
    module = request.module
    command = [sys.executable, "-m", "tests.trainer.rank", module.__name__]
    processes = [warm.Process([*command, str(rank), str(folder)]) for rank in range(module.RANKS)]
    errors = [process.communicate()[1] for process in processes]
    assert [process.wait() for process in processes] == [0] * module.RANKS, "\n".join(errors)
    return [torch.load(folder / f"{rank}.pt") for rank in range(module.RANKS)]
