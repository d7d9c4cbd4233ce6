"""The catalog of a run: its views are the run's files, whatever happens to the folder and wherever it lies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.inspect.catalog import attach, connect
from pipeline.inspect.catalog.images import image_places, read_image
from pipeline.run.folder import Item, Run
from pipeline.run.manifest import RunError
from pipeline.run.parquet import write_parquet
from pipeline.stages.opening import open_run, read_run
from pipeline.stages.registry import STAGES
from tests.support.paths import file_of

pytestmark = pytest.mark.slow

FOLDERS = {"plan": "plan", "downloads": "download", "scores": "score", "decisions": "select", "pairs": "dataset"}
NOBODY = 65534


@pytest.fixture
def copied(finished: Run, tmp_path: Path) -> Run:
    shutil.copytree(finished.folder, tmp_path / "copy")
    return read_run(tmp_path / "copy")


def numbers(run: Path | str) -> dict[str, int]:
    """Rows of a few views."""
    with connect(run) as connection:
        return {
            name: connection.execute(f"select count(*) from {name}").fetchall()[0][0] for name in (*FOLDERS, "rejected")
        }


def by_key(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["shard"], row["key"]))


@pytest.mark.parametrize("view", FOLDERS)
def test_a_view_is_what_its_files_hold(finished: Run, view: str) -> None:
    files = sorted((finished.folder / FOLDERS[view]).glob("[0-9]*.parquet"))
    expected = [{"shard": path.stem[:6], **row} for path in files for row in pq.read_table(path).to_pylist()]
    with connect(finished.folder) as connection:
        view_rows = connection.sql(f"from {view}").to_arrow_table().to_pylist()
    assert expected and by_key(view_rows) == by_key(expected)


def test_ledger_rejected_and_reasons_are_what_the_ledger_holds(finished: Run) -> None:
    rows = [row for path in (finished.folder / "ledger").rglob("*.parquet") for row in pq.read_table(path).to_pylist()]
    rejected = [row for row in rows if row["outcome"] != "out_of_scope"]
    reasons = Counter((reason, len(row["reasons"]) == 1) for row in rejected for reason in row["reasons"])
    with connect(finished.folder) as connection:
        assert connection.execute("select count(*), sum(rows) from ledger").fetchall() == [
            (len(rows), sum(row["rows"] for row in rows))
        ]
        counts = connection.execute("select reason, only_reason, count(*) from reasons group by all").fetchall()
        keys = connection.execute("select key from rejected where key is not null").fetchall()
    assert {(reason, alone): count for reason, alone, count in counts} == reasons
    assert Counter(key for (key,) in keys) == Counter(row["key"] for row in rejected if row["key"])


def test_when_and_where_each_shard_was_done_is_noted(finished: Run) -> None:
    with connect(finished.folder) as connection:
        rows = connection.execute("select stage, shard, began, ended, seconds, host from shards").fetchall()
        steps = connection.execute("select stage, shards, expected from stages").fetchall()
    assert Counter(step for step, *_ in rows) == {step: shards for step, shards, _ in steps if shards}
    assert all(began <= ended and seconds >= 0 and host for _, _, began, ended, seconds, host in rows)
    assert all(shards == expected for _, shards, expected in steps)


def test_a_file_without_a_manifest_is_not_seen(copied: Run) -> None:
    before = numbers(copied.folder)
    for view, folder in FOLDERS.items():
        path = min((copied.folder / folder).glob("000000*.parquet"))
        shutil.copy(path, path.with_name(path.name.replace("000000", "000099")))
        assert numbers(copied.folder) == before, view


def test_a_hole_in_the_middle_is_not_read(copied: Run) -> None:
    index = file_of(copied, "download", "000001")
    gone = pq.read_metadata(index).num_rows
    before = numbers(copied.folder)
    for path in (index, copied.folder / "download/000001.json"):
        path.unlink()
    assert numbers(copied.folder)["downloads"] == before["downloads"] - gone


def test_a_new_threshold_renews_the_catalog(copied: Run) -> None:
    before = numbers(copied.folder)
    content = copied.recipe.model_dump(mode="json")
    for source in content["sources"].values():
        source["min_score"] = 0.3
    run, _ = open_run(copied.folder, type(copied.recipe).model_validate(content))
    assert numbers(run.folder) == before | {"decisions": 0, "pairs": 0, "rejected": numbers(run.folder)["rejected"]}
    for manifest in run.manifests("score"):
        STAGES["select"].process(run, Item(manifest.shard))
    with connect(run.folder) as connection:
        thresholds = connection.execute("select distinct min_score from decisions").fetchall()
        kept = connection.execute("select count(*) from decisions where keep").fetchall()[0][0]
        beyond = connection.execute("select count(*) from scores where score >= 0.3::float").fetchall()[0][0]
    assert thresholds == [(pytest.approx(0.3),)] and 0 < kept == beyond < before["pairs"]


@contextmanager
def without_rights() -> Iterator[None]:
    """Root may write everywhere; for a while this process is nobody."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_cannot_be_written_is_read_all_the_same(copied: Run) -> None:
    expected = numbers(copied.folder)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        shutil.copytree(copied.folder, folder, ignore=shutil.ignore_patterns("catalog*", ".*"))
        for path in (Path(temporary), folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        with without_rights():
            assert numbers(folder) == expected
        assert not (folder / "catalog.sql").exists()
        for path in (Path(temporary), folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_any_name_of_a_folder_will_do(copied: Run) -> None:
    expected = numbers(copied.folder)
    folder = copied.folder.with_name('it\'s a "运行" 100% [1-2] {x}; drop')
    copied.folder.rename(folder)
    assert numbers(folder) == expected
    with connect(folder) as connection:
        attach(connection, "other", folder)
        assert connection.execute("select count(*) from other.rejected").fetchall() == [(expected["rejected"],)]


def test_catalog_sql_in_the_plain_command_line_of_duckdb(copied: Run) -> None:
    expected = str(numbers(copied.folder)["rejected"])
    command = [sys.executable, "-m", "duckdb_cli", "-csv", "-noheader"]
    query = ["-c", "select count(*) from rejected"]
    here = subprocess.run(
        [*command, "-init", "catalog.sql", *query], cwd=copied.folder, capture_output=True, text=True, check=True
    )
    commands = ["-cmd", f"set variable run = '{copied.folder}/'", "-cmd", f".read {copied.folder}/catalog.sql"]
    elsewhere = subprocess.run([*command, *commands, *query], cwd="/", capture_output=True, text=True, check=True)
    assert (here.stdout.strip(), elsewhere.stdout.strip()) == (expected, expected)


def test_a_run_of_another_format_is_refused_at_an_address_too(copied: Run) -> None:
    assert numbers(copied.folder) == numbers(f"file://{copied.folder}")
    (copied.folder / "run.json").unlink()
    with pytest.raises(RunError, match=r"file://.*/copy is a run of format 1"):
        connect(f"file://{copied.folder}")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import moto.server  # heavy

    server = moto.server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    yield "s3"
    server.stop()


@pytest.fixture
def gs(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server._api._httpd.server_port}")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "any")
    yield "gs"
    server.stop()


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_run_in_a_bucket(copied: Run, scheme: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(scheme)
    expected = numbers(copied.folder)
    files = fsspec.filesystem(scheme)
    files.mkdir("bucket")
    files.put(f"{copied.folder}/", "bucket/runs/first/", recursive=True)
    address = f"{scheme}://bucket/runs/first"
    assert numbers(address) == expected
    with connect(address) as connection:
        keys = [key for (key,) in connection.execute("select key from pairs order by key limit 2").fetchall()]
        places = image_places(connection, keys)
    images = [read_image(address, places[key]) for key in keys]
    assert images == [read_image(copied.folder, places[key]) for key in keys]


@pytest.mark.parametrize(("count", "errors"), [(4, 1), (3000, 1), (3000, 2999), (200_000, 150_000)])
def test_duckdb_tells_a_null_from_an_error_that_all_share(tmp_path: Path, count: int, errors: int) -> None:
    """It does not in DuckDB 2.0 where a text is coded plainly."""
    error = ["no image"] * errors + [None] * (count - errors)
    path = tmp_path / "some.parquet"
    write_parquet(pa.table({"key": [str(row) for row in range(count)], "error": error}), path)
    count_rows = duckdb.sql(f"select count(*) from '{path}' where error is null").fetchall()
    assert count_rows == [(count - errors,)]


def test_the_host_of_a_url_is_what_urllib_says(finished: Run) -> None:
    """Hosts with odd parts take another way through the macro than plain ones."""
    urls = ["http://a.b/c", "HTTPS://A.b:80", "http://u:p@h.x/", "http://h?q=http://x/y", "http://h#f", "http://[::1]:9/",
            "http://U@[fe80::1]/@", "http://h/a@b?c#d", "http://h:80?x", "https://例.cn/图"]  # fmt: skip
    others = [
        "http://[/x",
        "http://[::1/x",
        "ftp://x/y",
        "http:///x",
        "http://",
        "https:/a/b",
        "data:x",
        "javascript://x/y",
        "//a/b",
        "",
        None,
    ]
    with connect(finished.folder) as connection:
        domains = connection.execute("select domain(unnest($1))", [[*urls, *others]]).fetchall()
    hosts = [urlsplit(url) for url in urls]
    expected = [f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname for parts in hosts]
    assert [host for (host,) in domains] == [*expected, *[None] * len(others)]
