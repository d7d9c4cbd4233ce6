"""Megabytes of tars a second and core that `zhclip verify` proves, beside plain SHA-256 of the same files.

python -m benchmarks.verify

A run is generated (`benchmarks.big_run`) in which every shard has its tars. Measured is the time of this process, one thread:

- SHA-256 of all tars, which no proof can be faster than: `verify` hashes each file, and each image in it again;
- the tars alone, as `verify` reads them: every byte of a member against its row, the hashes of images against one another;
- the same member by member, as `verify` had it up to 0.2: published tars, each rebuilt from its index row by row;
- all of `verify`, with tables, ledgers, keys and manifests.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.big_run.__main__ import Size, generate
from pipeline.inspect.verify import verify_run
from pipeline.inspect.verify.context import Context, table_of
from pipeline.inspect.verify.published import check_tar
from pipeline.inspect.verify.raw_tar import check_images
from pipeline.inspect.verify.reading import file_of
from pipeline.run.folder import Run
from pipeline.run.tar import END_OF_TAR, sample_members

MEGABYTE = 1e6


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verify", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=60_000, help="of metadata (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement; the median counts")
    parser.add_argument("--folder", type=Path, help="where the run is generated, and stays; default: it is removed")
    given = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="zhclip-verify-") as name:
        folder = given.folder or Path(name) / "run"
        run = generate(folder, Size(rows=given.rows, images=1_000_000, shard_size=5_000), 1, Console(quiet=True))
        measure(run, given.rounds, console)


def measure(run: Run, rounds: int, console: Console) -> None:
    """Measures one run, each in turn, and prints the medians."""
    published, both = tars(run, "publish"), [*tars(run, "publish"), *tars(run, "download")]
    work: dict[str, tuple[Callable[[], object], list[Path]]] = {
        "SHA-256 of all tars": (lambda: [sha256(path) for path in both], both),
        "tars, as verify reads them": (lambda: read_tars(run), both),
        "published tars, member by member": (lambda: member_by_member(run), published),
        "verify, all of it": (lambda: verify_run(run, Console(quiet=True), threads=1), both),
    }
    speeds: dict[str, list[float]] = {what: [] for what in work}
    for _ in range(rounds):
        for what, (call, paths) in work.items():
            size = sum(path.stat().st_size for path in paths)
            begun = time.process_time()
            call()
            speeds[what].append(size / MEGABYTE / (time.process_time() - begun))
    plain = statistics.median(speeds["SHA-256 of all tars"])
    table = Table("", "MB/s a core", "of SHA-256")
    for what, of_rounds in speeds.items():
        speed = statistics.median(of_rounds)
        table.add_row(what, f"{speed:.0f}", f"{speed / plain:.2f}")
    console.print(table)
    size, pairs = (
        sum(path.stat().st_size for path in both),
        sum(manifest.counts["out"] for manifest in run.manifests("publish")),
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    console.print(
        f"{size / MEGABYTE:,.0f} MB of tars, {pairs:,} published pairs, peak {peak:,.0f} MiB", highlight=False
    )


def tars(run: Run, stage: str) -> list[Path]:
    """The tars of a stage."""
    return [run.folder / name for manifest in run.manifests(stage) for name in manifest.files if name.endswith(".tar")]


def sha256(path: Path) -> str:
    """Of a file, read in large pieces."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(16 << 20):
            digest.update(piece)
    return digest.hexdigest()


def read_tars(run: Run) -> None:
    """The tars of both stages with what they are compared with: rows of tables, and one another's hashes."""
    context, problems = Context.of(run), []
    for manifest in run.manifests("publish"):
        name = file_of(run, manifest, ".tar")
        assert name is not None
        problems += check_tar(context, manifest, name, table_of(context, manifest, ".parquet"), True)
    for manifest in run.manifests("download"):
        problems += check_images(context, manifest, table_of(context, manifest, ".parquet"))
    assert not problems, problems


def member_by_member(run: Run) -> None:
    """Published tars as they were proved before: hashed, then rebuilt from rows of Python values and compared."""
    context = Context.of(run)
    for manifest in run.manifests("publish"):
        name = file_of(run, manifest, ".tar")
        assert name is not None
        sha256(run.folder / name)
        content, end = (run.folder / name).read_bytes(), 0
        for row in table_of(context, manifest, ".parquet").to_pylist():
            image = content[row["offset"] : row["offset"] + row["length"]]
            columns = {column: value for column, value in row.items() if column not in ("tar", "offset", "length")}
            sample = sample_members(row["key"], image, columns)
            assert hashlib.sha256(image).hexdigest() == row["image_sha256"]
            assert content[end : end + len(sample.content)] == sample.content
            end += len(sample.content)
        assert content[end:] == END_OF_TAR


if __name__ == "__main__":
    main()
