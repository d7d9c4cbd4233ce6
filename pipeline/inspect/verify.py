"""Proof that a run holds what it says: files, counts, conservation, and every published pair byte by byte."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track

from foundation.text import counted
from pipeline.inspect.funnel import query_ledger, source_funnels
from pipeline.run.folder import Run
from pipeline.run.manifest import Manifest, RunError
from pipeline.run.names import DATASET, DATASET_MANIFEST, LAYOUT_FILE, LEDGER
from pipeline.run.tar import BLOCK, END_OF_TAR, sample_members
from pipeline.stages.layout import read_layout
from pipeline.stages.registry import OUTCOMES, STAGES, enabled


@dataclass
class Report:
    """What was checked, and every problem found, each naming its place."""

    checked: dict[str, int] = field(default_factory=lambda: {"shards": 0, "files": 0, "bytes": 0, "published pairs": 0})
    problems: list[str] = field(default_factory=list)

    def print(self, console: Console) -> None:
        """One screen: what was checked, and the problems."""
        checked = ", ".join(counted(number, name.removesuffix("s")) for name, number in self.checked.items())
        for problem in self.problems[:50]:
            console.print(f"[red]✗[/] {problem}", highlight=False, soft_wrap=True)
        if len(self.problems) > 50:
            console.print(f"  … and {len(self.problems) - 50:,} more; all of them with --json")
        verdict = f"[red]{counted(len(self.problems), 'problem')}[/]" if self.problems else "[green]everything holds[/]"
        console.print(f"{verdict}: {checked}", highlight=False)


def verify_run(run: Run, console: Console) -> Report:
    """Checks a run as far as it has come; a run in progress is checked for what is committed."""
    report = Report()
    manifests = _manifests(run, report)
    complete = not report.problems and _check_presence(run, report)
    with ThreadPoolExecutor(4) as pool:
        checks = pool.map(lambda manifest: _check_files(run, manifest), manifests)
        for manifest, problems in track(
            zip(manifests, checks, strict=True), "verify", total=len(manifests), console=console, transient=True
        ):
            report.checked["shards"] += 1
            report.checked["files"] += len(manifest.files)
            report.checked["bytes"] += sum(described["bytes"] for described in manifest.files.values())
            report.problems += problems
    report.checked["published pairs"] = sum(
        manifest.counts["out"] for manifest in manifests if manifest.stage == "publish"
    )
    _guarded(report, "ledger", lambda: _check_ledger_counts(run))
    if complete:
        _guarded(report, "conservation", lambda: _check_conservation(run))
        _guarded(report, DATASET, lambda: _check_dataset(run))
    return report


def _manifests(run: Run, report: Report) -> list[Manifest]:
    """All that count, in the order of the flow; a damaged one is a problem."""
    manifests = []
    for stage in STAGES:
        for entry in run.manifest_entries(stage):
            try:
                manifest = run.manifest(stage, entry.name.rpartition("/")[2].removesuffix(".json"))
            except RunError as error:
                report.problems.append(str(error))
                continue
            if manifest:
                manifests.append(manifest)
    return manifests


def _check_presence(run: Run, report: Report) -> bool:
    """Whether every stage has all of its shards; a hole in a stage that later ones have read is a problem."""
    if not run.holds(LAYOUT_FILE):
        report.problems.append(f"{run.address}/{LAYOUT_FILE} is missing: nothing was planned, or it was removed")
        return False
    try:
        read_layout(run)
    except RunError as error:
        report.problems.append(str(error))
        return False
    stages = enabled(run.recipe)
    begun = [stage.name for stage in stages if run.done(stage.name)]
    dataset_done = run.holds(f"{DATASET}/{DATASET_MANIFEST}")
    for number, stage in enumerate(stages):
        missing = sorted(set(stage.shards(run)) - {manifest.shard for manifest in run.manifests(stage.name)})
        if not missing:
            continue
        later = {other.name for other in stages[number + 1 :]}
        if later.intersection(begun) or (stage.name == "publish" and dataset_done):
            folder = run.stages[stage.name].folder
            report.problems += [f"{folder}/{shard}: missing shard: it has no manifest" for shard in missing]
        break
    return dataset_done


def _check_files(run: Run, manifest: Manifest) -> list[str]:
    problems: list[str] = []
    if manifest.stage == "publish" and not run.readable("publish"):
        return problems  # not handed on yet
    for name, described in manifest.files.items():
        path = run.folder / name
        if not path.exists():
            problems.append(
                f"{name}: the file is missing; {run.stages[manifest.stage].folder}/{manifest.shard}.json names it"
            )
        elif path.stat().st_size != described["bytes"]:
            problems.append(f"{name}: {path.stat().st_size:,} bytes instead of {described['bytes']:,}")
        elif _sha256(path) != described["sha256"]:
            problems.append(f"{name}: damaged: its SHA-256 is not the manifest's")
    return problems + list(_check_published(run, manifest) if manifest.stage == "publish" else ())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_published(run: Run, manifest: Manifest) -> Iterator[str]:
    """Rebuilds every member of a tar from the index and compares: a difference is traced to its key."""
    tar, index = manifest.find(".tar"), manifest.find(".parquet")
    if tar is None or index is None:
        return
    tar_path, index_path = run.folder / tar, run.folder / index
    if not (tar_path.exists() and index_path.exists()):
        return
    try:
        rows = pq.read_table(index_path).to_pylist()
    except (OSError, ValueError) as error:
        yield f"{DATASET}/{manifest.shard}.parquet: cannot be read: {error}"
        return
    if len(rows) != manifest.counts["out"]:
        yield f"{DATASET}/{manifest.shard}.parquet: {counted(len(rows), 'row')}; the manifest counts {manifest.counts['out']:,}"
    content = tar_path.read_bytes()
    end = 0
    for row in rows:
        image = content[row["offset"] : row["offset"] + row["length"]]
        columns = {name: value for name, value in row.items() if name not in ("tar", "offset", "length")}
        sample = sample_members(row["key"], image, columns)
        start = row["offset"] - BLOCK
        if start != end:
            yield f"{DATASET}/{manifest.shard}.tar: pair {row['key']} does not begin where the one before ends (byte {end:,})"
        if hashlib.sha256(image).hexdigest() != row["image_sha256"]:
            yield f"{DATASET}/{manifest.shard}.tar: the image of pair {row['key']} is damaged or cut off (byte {row['offset']:,})"
        elif content[start : start + len(sample.content)] != sample.content:
            yield f"{DATASET}/{manifest.shard}.tar: the members of pair {row['key']} do not say what the index says"
        end = start + len(sample.content)
    if content[end:] != END_OF_TAR:
        yield f"{DATASET}/{manifest.shard}.tar: does not end after its last pair (byte {end:,})"


def _check_ledger_counts(run: Run) -> Iterator[str]:
    """The rows of each ledger, counted again, against the manifests."""
    rows = query_ledger(run, "select source, stage, outcome, sum(rows)::bigint as rows from ledger group by all")
    ledger_rows = {(row["source"], row["stage"], row["outcome"]): row["rows"] for row in rows.to_pylist()}
    for funnel in source_funnels(run):
        for key, (stage, outcome) in OUTCOMES.items():
            if outcome.ledger is None:
                continue
            in_ledger, in_manifests = ledger_rows.get((funnel.source, stage, outcome.ledger), 0), funnel.outcomes[key]
            if in_ledger != in_manifests:
                yield (
                    f"{LEDGER}/{stage}: {counted(in_ledger, f'{outcome.ledger} row')} of {funnel.source}; the manifests count "
                    f"{in_manifests:,}"
                )


def _check_conservation(run: Run) -> Iterator[str]:
    for funnel in source_funnels(run):
        if funnel.waiting:
            yield (
                f"source {funnel.source}: {counted(funnel.read, 'row')} read; neither published nor in the ledger: "
                f"{funnel.waiting:+,}"
            )


def _check_dataset(run: Run) -> Iterator[str]:
    """The dataset's own manifest against the shards', and keys that are in key order, once, and not in the ledger."""
    content = json.loads(run.storage.read(f"{DATASET}/{DATASET_MANIFEST}"))
    named = {shard["shard"]: shard["files"] for shard in content["shards"]}
    for manifest in run.manifests("publish"):
        files = {name.removeprefix(f"{DATASET}/"): described for name, described in manifest.files.items()}
        if named.pop(manifest.shard, None) != files:
            yield f"{DATASET}/{DATASET_MANIFEST}: differs from {DATASET}/{manifest.shard}.json"
    yield from (f"{DATASET}/{shard}: missing shard: {DATASET_MANIFEST} names it" for shard in named)
    if not run.manifests("publish"):
        return
    paths = [str(run.folder / manifest.file(".parquet")) for manifest in run.manifests("publish")]
    indexes = duckdb.read_parquet(paths)
    repeated = indexes.query("indexes", "select key, list(tar) from indexes group by key having count(*) > 1 limit 20")
    for key, tars in repeated.fetchall():
        yield f"pair {key} is published more than once: {', '.join(tars)}"


def _guarded(report: Report, what: str, check: Callable[[], Iterator[str]]) -> None:
    """A check that cannot even run, because a file it reads is damaged or gone, is a problem too."""
    try:
        report.problems += list(check())
    except (OSError, ValueError, KeyError, RunError, duckdb.Error) as error:
        report.problems.append(f"{what}: cannot be checked: {error}")
