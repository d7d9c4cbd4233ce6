"""Writes the report of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.inspect.catalog import connect
from pipeline.inspect.report.diff import changes
from pipeline.inspect.report.figures import read_figures
from pipeline.inspect.report.page import Options, render
from pipeline.run.files import write_atomically
from pipeline.run.names import REPORT
from pipeline.stages.opening import read_run


def write_report(
    folder: str | Path,
    path: Path | None = None,
    against: str | Path | None = None,
    seed: int = 0,
    cards: int = 8,
    prices: Mapping[str, float] | None = None,
    memory: str = "4GiB",
) -> int:
    """Writes the report of a run, as a whole or not at all; the same run gives the same bytes.

    Args:
        folder: the run's folder or url.
        path: a local file; by default report.html in the run.
        prices: stage → price of a worker-hour.
        memory: DuckDB's limit; beyond it, it writes to a temporary folder.

    Returns:
        The size of the file in bytes.

    Raises:
        RunError: `folder` or `against` is no run.
    """
    run = read_run(folder)
    with connect(folder, memory=memory) as connection:
        compared = None
        if against is not None:
            with connect(against, memory=memory) as previous:
                compared = changes(read_figures(run, connection), read_figures(read_run(against), previous))
        text = render(
            run, connection, Options(seed, cards, prices), compared, "" if against is None else read_run(against).name
        )
    if path is None:
        run.storage.put(REPORT, text.encode())
    else:
        write_atomically(path, text)
    return len(text.encode())
