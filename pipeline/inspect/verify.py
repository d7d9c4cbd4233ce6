"""Proof that a run holds what it says: files, counts, conservation, and every published pair byte by byte."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import duckdb
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track

from pipeline.run.counts import balances
from pipeline.run.folder import FOLDERS, Manifest, Run, sha256_of
from pipeline.run.funnel import query_ledger
from pipeline.run.tar import BLOCK, END_OF_TAR, sample_members
from pipeline.stages.registry import STEPS


@dataclass
class Report:
    """What was checked, and every problem found, each naming its place."""

    checked: dict[str, int] = field(default_factory=lambda: {"shards": 0, "files": 0, "bytes": 0, "published pairs": 0})
    problems: list[str] = field(default_factory=list)

    def print(self, console: Console) -> None:
        """One screen: what was checked, and the problems."""
        checked = ", ".join(f"{number:,} {name}" for name, number in self.checked.items())
        for problem in self.problems[:50]:
            console.print(f"[red]✗[/] {problem}", highlight=False, soft_wrap=True)
        if len(self.problems) > 50:
            console.print(f"  … and {len(self.problems) - 50:,} more; all of them with --json")
        verdict = f"[red]{len(self.problems):,} problems[/]" if self.problems else "[green]everything holds[/]"
        console.print(f"{verdict}: {checked}", highlight=False)


def verify_run(run: Run, console: Console) -> Report:
    """Checks a run as far as it has come; a run in progress is checked for what is committed."""
    report = Report()
    complete = _check_presence(run, report)
    manifests = [manifest for step in STEPS for manifest in run.manifests(step)]
    with ThreadPoolExecutor(4) as pool:
        checks = pool.map(lambda manifest: _check_files(run, manifest), manifests)
        for manifest, problems in track(
            zip(manifests, checks, strict=True), "verify", total=len(manifests), console=console, transient=True
        ):
            report.checked["shards"] += 1
            report.checked["files"] += len(manifest.files)
            report.checked["bytes"] += sum(described["bytes"] for described in manifest.files.values())
            report.problems += problems
    report.checked["published pairs"] = sum(found.counts["out"] for found in manifests if found.step == "publish")
    _guarded(report, "ledger", lambda: _check_ledger_counts(run))
    if complete:
        _guarded(report, "conservation", lambda: _check_balances(run))
        _guarded(report, "dataset", lambda: _check_dataset(run))
    return report


def _check_presence(run: Run, report: Report) -> bool:
    """Whether every step has all of its shards; a hole in a step that later ones have read is a problem."""
    if not (run.folder / "layout.json").exists():
        report.problems.append(f"{run.folder}/layout.json is missing: nothing was planned, or it was removed")
        return False
    begun = [step for step in STEPS if run.done(step)]
    for step in STEPS:
        missing = sorted(set(STEPS[step].expected(run)) - {found.shard for found in run.manifests(step)})
        if missing and step not in begun[-1:]:
            later = [other for other in begun if list(STEPS).index(other) > list(STEPS).index(step)]
            report.problems += [
                f"{FOLDERS[step]}/{shard}: missing shard: it has no manifest" for shard in missing if later
            ]
        if missing:
            dataset_done = run.path("publish", "manifest.json").exists()
            if step == "publish" and dataset_done:
                report.problems += [f"dataset/{shard}: missing shard: it has no manifest" for shard in missing]
            return dataset_done
    return run.path("publish", "manifest.json").exists()


def _check_files(run: Run, manifest: Manifest) -> list[str]:
    problems = []
    for name, described in manifest.files.items():
        path = run.folder / name
        if not path.exists():
            problems.append(f"{name}: the file is missing; {FOLDERS[manifest.step]}/{manifest.shard}.json names it")
        elif path.stat().st_size != described["bytes"]:
            problems.append(f"{name}: {path.stat().st_size:,} bytes instead of {described['bytes']:,}")
        elif sha256_of(path) != described["sha256"]:
            problems.append(f"{name}: damaged: its SHA-256 is not the manifest's")
    return problems + list(_check_published(run, manifest) if manifest.step == "publish" else ())


def _check_published(run: Run, manifest: Manifest) -> Iterator[str]:
    """Rebuilds every member of a tar from the index and compares: a difference is traced to its key."""
    tar_path, index_path = (run.path("publish", f"{manifest.shard}.{ending}") for ending in ("tar", "parquet"))
    if not (tar_path.exists() and index_path.exists()):
        return
    try:
        rows = pq.read_table(index_path).to_pylist()
    except (OSError, ValueError) as error:
        yield f"dataset/{manifest.shard}.parquet: cannot be read: {error}"
        return
    if len(rows) != manifest.counts["out"]:
        yield f"dataset/{manifest.shard}.parquet: {len(rows):,} rows; the manifest counts {manifest.counts['out']:,}"
    content = tar_path.read_bytes()
    end = 0
    for row in rows:
        image = content[row["offset"] : row["offset"] + row["length"]]
        columns = {name: found for name, found in row.items() if name not in ("tar", "offset", "length")}
        sample = sample_members(row["key"], image, columns)
        start = row["offset"] - BLOCK
        if start != end:
            yield f"dataset/{manifest.shard}.tar: pair {row['key']} does not begin where the one before ends (byte {end:,})"
        if hashlib.sha256(image).hexdigest() != row["image_sha256"]:
            yield f"dataset/{manifest.shard}.tar: the image of pair {row['key']} is damaged or cut off (byte {row['offset']:,})"
        elif content[start : start + len(sample.content)] != sample.content:
            yield f"dataset/{manifest.shard}.tar: the members of pair {row['key']} do not say what the index says"
        end = start + len(sample.content)
    if content[end:] != END_OF_TAR:
        yield f"dataset/{manifest.shard}.tar: does not end after its last pair (byte {end:,})"


def _check_ledger_counts(run: Run) -> Iterator[str]:
    """The rows of each ledger, counted again, against the manifests."""
    found = query_ledger(run, "select source, stage, outcome, sum(rows)::bigint as rows from ledger group by all")
    counted = {(row["source"], row["stage"], row["outcome"]): row["rows"] for row in found.to_pylist()}
    for balance in balances(run):
        for place, rows in (
            (("read", "out_of_scope"), balance.out_of_scope),
            (("read", "failed"), balance.unreadable),
            (("plan", "rejected"), balance.rejected_by_rules),
            (("download", "failed"), balance.failed_download),
            (("score", "failed"), balance.failed_score),
            (("select", "rejected"), balance.rejected_by_score),
        ):
            in_ledger = counted.get((balance.source, *place), 0)
            if in_ledger != rows:
                yield f"ledger/{place[0]}: {in_ledger:,} {place[1]} rows of {balance.source}; the manifests count {rows:,}"


def _check_balances(run: Run) -> Iterator[str]:
    for balance in balances(run):
        if balance.missing:
            yield (
                f"source {balance.source}: {balance.read:,} rows read, but {balance.missing:+,} of them are neither published nor "
                "in the ledger"
            )


def _check_dataset(run: Run) -> Iterator[str]:
    """The dataset's own manifest against the shards', and keys that are in key order, once, and not in the ledger."""
    content = json.loads(run.path("publish", "manifest.json").read_text(encoding="utf-8"))
    named = {shard["shard"]: shard["files"] for shard in content["shards"]}
    for manifest in run.manifests("publish"):
        files = {name.removeprefix("dataset/"): described for name, described in manifest.files.items()}
        if named.pop(manifest.shard, None) != files:
            yield f"dataset/manifest.json: differs from dataset/{manifest.shard}.json"
    yield from (f"dataset/{shard}: missing shard: manifest.json names it" for shard in named)
    if not run.manifests("publish"):
        return
    keys = f"(select key, tar from read_parquet('{run.path('publish', '*.parquet')}'))"
    for key, tars in duckdb.sql(
        f"select key, list(tar) from {keys} group by key having count(*) > 1 limit 20"
    ).fetchall():
        yield f"pair {key} is published more than once: {', '.join(tars)}"


def _guarded(report: Report, what: str, check: Callable[[], Iterator[str]]) -> None:
    """A check that cannot even run, because a file it reads is damaged or gone, is a problem too."""
    try:
        report.problems += list(check())
    except (OSError, ValueError, KeyError, duckdb.Error) as error:
        report.problems.append(f"{what}: cannot be checked: {error}")
