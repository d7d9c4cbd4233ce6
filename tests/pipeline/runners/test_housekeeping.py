"""What killed processes leave goes, what is still needed comes back, and nothing else is touched."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foundation.errors import EXIT_INVALID
from foundation.storage import Disk
from pipeline import collect_garbage
from pipeline.recipe import Recipe
from pipeline.run.attempt import begin_attempt
from pipeline.run.folder import Run
from pipeline.run.lease import Superseded, drive
from pipeline.run.manifest import RunError
from pipeline.runners.housekeeping import tidy
from pipeline.stages.opening import open_run, read_run, run_of
from tests.support.optional import MACHINE
from zhclip.app import app


def recipe(**changes: object) -> Recipe:
    return Recipe.model_validate({"sources": {"wukong": {"kind": "wukong", "files": ["x.csv"], **changes}}})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(tmp_path / "run", recipe())[0]


def commit(run: Run, stage: str, shard: str = "000000", content: bytes = b"abc") -> bool:
    with begin_attempt(run, stage, shard) as attempt:
        attempt.output(".parquet").write_bytes(content)
        attempt.ledger([])
        return attempt.commit({"in": 0, "out": 0})


def names(run: Run) -> set[str]:
    return {entry.name for entry in run.storage.list() if not entry.name.startswith((".driver/", "times/"))}


def test_what_no_manifest_names_goes_and_what_is_no_file_of_a_shard_stays(run: Run) -> None:
    for stage in ("score", "select"):
        commit(run, stage)
    before = names(run)
    orphans = [
        "score/000000-0123456789ab.parquet",
        "ledger/score/000007-0123456789ab.parquet",
        "download/.writing-0123abcd",
    ]
    foreign = ["score/notes.txt", "score/000001.parquet.bak", "thesis.txt", "ledger/mine/000000-0123456789ab.parquet"]
    for name in [*orphans, *foreign, ".attempts/score-000003-abc/half"]:
        (run.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (run.folder / name).write_bytes(b"12345")
    garbage = tidy(run)
    assert names(run) == before.union(foreign)
    assert garbage.names == sorted([*orphans, ".attempts/score-000003-abc/half"])
    assert (garbage.bytes, garbage.again) == (20, {})


def test_a_driver_that_was_followed_removes_nothing(run: Run) -> None:
    """It slept, say, between its last shard and this: what no manifest names is what the next one's workers have in hand."""
    with drive(run.storage) as lease:
        stale = replace(run, epoch=lease.epoch)
    with drive(run.storage):
        run.storage.put("score/000000-0123456789ab.parquet", b"about to be committed")
        before = names(run)
        with pytest.raises(Superseded):
            tidy(stale)
        assert names(run) == before


def test_manifests_of_another_recipe_go_where_their_stage_is_cheap(run: Run) -> None:
    """A zhclip of another version may have made them; what took long is refused instead of removed."""
    other = run_of(run.folder, recipe(min_score=0.5))
    assert commit(other, "select", "000004")
    assert tidy(run).again == {"select": ["000004"]}
    assert not run.manifest_entries("select")


def test_a_worker_of_another_recipe_keeps_nobody_from_committing(run: Run) -> None:
    """Its manifest does not count, is not read, and gives way."""
    stale = run_of(run.folder, recipe(min_score=0.5))
    assert commit(stale, "select", content=b"stale")
    assert run.done("select") == set() and run.manifests("select") == []
    assert commit(run, "select", content=b"right")
    assert run.done("select") == {"000000"} and run.storage.read(run.file("select", "000000")) == b"right"


@pytest.mark.parametrize(
    "name", ["../victim", "/etc/victim", "score/000000-0123456789ab.parquet", "select/../../victim", "recipe.yaml"]
)
def test_a_manifest_names_files_of_its_own_alone(run: Run, name: str) -> None:
    """Runs are handed around: what a manifest names is read, hashed, and removed when the recipe changes."""
    victim = run.folder.parent / "victim"
    victim.write_text("precious")
    assert commit(run, "select")
    manifest = run.folder / "select/000000.json"
    for key in ('"files": {', '"scratch": ['):
        text = manifest.read_text()
        entry = f'"{name}": {{"bytes": 1, "sha256": ""}},' if key.endswith("{") else f'"{name}"'
        manifest.write_text(text.replace(key, key + entry))
        for use in (
            lambda: read_run(run.folder).manifests("select"),
            lambda: open_run(run.folder, recipe(min_score=0.5)),
        ):
            with pytest.raises(RunError, match=r"select/000000.json: damaged, .*it names .* no file of this shard"):
                use()
        manifest.write_text(text)
    assert victim.read_text() == "precious"


def test_a_stage_may_lie_on_another_disk(run: Run) -> None:
    elsewhere = Path("/dev/shm", f"zhclip-{run.folder.parent.name}")
    if not elsewhere.parent.is_dir() or elsewhere.parent.stat().st_dev == run.folder.stat().st_dev:
        pytest.skip(f"{MACHINE}second disk at /dev/shm")
    elsewhere.mkdir()
    try:
        (run.folder / "select").symlink_to(elsewhere)
        assert commit(run, "select")
        assert run.storage.read(run.file("select", "000000")) == b"abc"
        assert tidy(run).files == []
    finally:
        shutil.rmtree(elsewhere)


def contents(run: Run) -> dict[str, tuple[int, str]]:
    """All of a run, but the beat of whoever drives it."""
    return {
        entry.name: (entry.bytes, entry.version)
        for entry in run.storage.list()
        if not entry.name.endswith(".beat") and not entry.name.startswith(".driver/.writing")
    }


@pytest.fixture(params=["disk", "memory"])
def littered(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """A run with a shard, and a file that no manifest names."""
    address = str(tmp_path / "run") if request.param == "disk" else f"memory://gc/{tmp_path.name}"
    run, _ = open_run(address, recipe())
    commit(run, "score")
    run.storage.put("score/000000-0123456789ab.parquet", b"12345")
    return run


def test_garbage_is_listed_and_then_removed(littered: Run) -> None:
    before = contents(littered)
    listed = collect_garbage(littered, dry_run=True)
    assert (listed.names, listed.bytes, listed.again) == (["score/000000-0123456789ab.parquet"], 5, {})
    assert contents(littered) == before
    assert collect_garbage(littered).names == listed.names
    assert {name for name in contents(littered) if not name.startswith(".driver/")} == {
        name for name in before if name not in listed.names and not name.startswith(".driver/")
    }
    assert collect_garbage(littered).names == []


def test_garbage_of_a_run_whose_driver_lives_stays(littered: Run) -> None:
    with drive(littered.storage):
        before = contents(littered)
        with pytest.raises(RunError, match=r"another process is working on .* \(process \d+ on ") as refused:
            collect_garbage(littered)
        assert refused.value.exit_code == EXIT_INVALID
        assert collect_garbage(littered, dry_run=True).names == ["score/000000-0123456789ab.parquet"]
        assert contents(littered) == before


def test_the_command_says_what_went_and_what_is_made_again(run: Run) -> None:
    run.storage.put("score/000000-0123456789ab.parquet", b"12345")
    stale = run_of(run.folder, recipe(min_score=0.5))
    assert commit(stale, "select", "000004")
    with drive(run.storage):
        refused = CliRunner().invoke(app, ["gc", str(run.folder)])
        assert refused.exit_code == EXIT_INVALID
    dry = CliRunner().invoke(app, ["gc", str(run.folder), "--dry-run"])
    assert dry.exit_code == 0 and "would go" in dry.stdout
    done = CliRunner().invoke(app, ["gc", str(run.folder)])
    assert done.exit_code == 0, done.output
    assert "score/000000-0123456789ab.parquet" in done.stdout
    assert "3 files removed" in done.stdout
    assert "1 shard of the select stage: `zhclip curate` makes them again" in done.stdout
    described = json.loads(CliRunner().invoke(app, ["gc", str(run.folder), "--json"]).stdout)
    assert described == {"run": str(run.folder), "removed": True, "files": [], "bytes": 0, "again": {}}


class Killed(BaseException):
    """A process that ends here."""


class Dying(Disk):
    """A disk whose process is killed at a write."""

    writes: list[int]

    def _count(self) -> None:
        self.writes[0] -= 1
        if self.writes[0] < 0:
            raise Killed

    def create(self, name: str, content: bytes) -> bool:
        """As on any disk, unless this is the write."""
        self._count()
        return super().create(name, content)

    def put(self, name: str, content: bytes | Path, durable: bool = True) -> None:
        """As on any disk, unless this is the write."""
        if not name.endswith(".beat"):
            self._count()
        super().put(name, content, durable)


@pytest.mark.parametrize("writes", range(6))
def test_a_start_that_was_killed_before_any_write_is_started_again(
    tmp_path: Path, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    Dying.writes = [writes]
    monkeypatch.setattr("pipeline.stages.opening.open_storage", lambda folder: Dying(Path(folder)))
    with suppress(Killed):
        open_run(tmp_path / "run", recipe())
    monkeypatch.undo()
    for entry in list(Disk(tmp_path / "run").list(".driver/")):  # its process is gone: here it is still this one
        Disk(tmp_path / "run").remove(entry.name)
    run, _ = open_run(tmp_path / "run", recipe())
    assert read_run(run.folder).recipe == recipe()
