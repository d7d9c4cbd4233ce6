"""What several processes that train together computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    """What each of the module's RANKS processes saved: `rank_main(rank, folder)` writes FOLDER/RANK.pt."""
    import torch
    from torch import multiprocessing

    folder: Path = tmp_path_factory.mktemp("ranks")
    module = request.module
    multiprocessing.spawn(module.rank_main, (str(folder),), module.RANKS)
    return [torch.load(folder / f"{rank}.pt") for rank in range(module.RANKS)]
