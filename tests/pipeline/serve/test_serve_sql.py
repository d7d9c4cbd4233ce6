"""SQL that must not do what it asks for, and SQL that must work."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import httpx
import pytest

from pipeline.serve import sql_check
from pipeline.serve.runs import RunIndex
from pipeline.serve.service import sql_setup
from pipeline.serve.sql_child import Question, Setup
from pipeline.serve.sql_pool import Pool

LIMITS = {"rows": 100, "characters": 1_000_000, "cell": 1_000, "seconds": 2.0}
REFUSED = """
copy (select 1) to '{run}/plan/new.csv'
copy (select 1 as a) to '{plan}' (use_tmp_file false)
with t as (copy (select 1 as a) to '{plan}' (use_tmp_file false)) from t
select * from (with t as (copy (select 1 as a) to '{plan}' (use_tmp_file false)) from t)
with t as (delete from plan returning *) from t
attach '/tmp/other.db'
attach '{run}/other.db'
install httpfs
load httpfs
set threads = 64
set variable run = '/etc/'
reset threads
pragma database_list
call pragma_version()
create table t as select 1
create view v as select 1
create macro m() as 1
drop view plan
insert into plan values (1)
export database '{run}'
import database '{run}'
explain analyze copy (select 1) to '{run}/x.csv'
prepare p as select 1
use memory
vacuum
checkpoint
begin transaction
select 1; select 2
select * from read_text('/etc/passwd')
select * from read_blob('/proc/self/environ')
select * from read_csv('/etc/passwd')
select * from read_json('/etc/passwd')
select * from read_parquet('{plan}')
select * from parquet_metadata('{plan}')
select * from glob('/etc/*')
select * from sniff_csv('/etc/passwd')
select (select content from read_text('/etc/passwd'))
select * from plan where caption in (select content from read_text('/etc/passwd'))
from query('select 1')
from query_table('plan')
from json_execute_serialized_sql(json_serialize_sql('select 1'))
from duckdb_secrets()
from duckdb_settings()
from enable_logging(storage = 'file')
from arrow_scan(1, 2, 3)
""".strip().splitlines()
INVALID = """
from '/etc/passwd'
from '/etc/hosts.csv'
from 'http://127.0.0.1:1/x.parquet'
from 's3://bucket/x.parquet'
from '{run}/recipe.yaml'
from '{run}/ledger/*/*.parquet'
select getenv('HOME')
select nothing from plan
selekt 1
""".strip().splitlines()


@pytest.fixture(scope="module")
def setup(shelf: Path) -> Setup:
    return sql_setup(RunIndex(shelf).get("merged"))


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    pool.close()


def ask(pool: Pool, setup: Setup, query: str, **limits: float) -> dict[str, object]:
    return pool.ask(setup, Question(query, **{**LIMITS, **limits}))


def filled(line: str, setup: Setup) -> str:
    """A query with the run's folder and one of its files in it."""
    plan = next(file for file in setup.files if "/plan/" in file)
    return line.format(run=setup.run.rstrip("/"), plan=plan)


def fingerprint(folder: Path) -> str:
    names = sorted(path for path in folder.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in names:
        digest.update(f"{path} ".encode() + path.read_bytes())
    return digest.hexdigest()


def test_what_is_refused_changes_nothing(pool: Pool, setup: Setup, shelf: Path) -> None:
    before = fingerprint(shelf / "merged")
    for line in REFUSED:
        query = filled(line, setup)
        response = ask(pool, setup, query)
        assert response.get("kind") == "refused" and "rows" not in response, (query, response)
    for line in INVALID:
        query = filled(line, setup)
        response = ask(pool, setup, query)
        assert response.get("kind") == "invalid" and "rows" not in response, (query, response)
    assert fingerprint(shelf / "merged") == before


@pytest.mark.parametrize("line", [line for line in REFUSED if " to '" in line or "read_" in line or "attach" in line])
def test_the_process_could_not_do_it_even_if_it_were_not_refused(
    setup: Setup, shelf: Path, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Once more with the look at the parse tree taken out: the kernel and DuckDB's own locks hold alone."""
    path = tmp_path / "open"
    (path / "pipeline/serve").mkdir(parents=True)
    here = Path(sql_check.__file__).parent
    for name in ("__init__.py", "sandbox.py", "sql_child.py"):
        (path / "pipeline/serve" / name).write_text((here / name).read_text(encoding="utf-8"), encoding="utf-8")
    (path / "pipeline/__init__.py").write_text("", encoding="utf-8")
    (path / "pipeline/serve/sql_check.py").write_text(
        "def refusal(connection, query): return None\ndef without_semicolon(query): return query\n", encoding="utf-8"
    )
    monkeypatch.setattr("foundation.child.HOME", path)
    before, pool = fingerprint(shelf / "merged"), Pool()
    response = ask(pool, setup, filled(line, setup))
    pool.close()
    assert fingerprint(shelf / "merged") == before
    if "{run}" not in line and "{plan}" not in line:
        assert "error" in response, response  # what lies in the run may be read: it is the run's own


@pytest.mark.parametrize(
    "query",
    [
        "select count(*) from range(1000000000000000000)",
        "with recursive t(i) as (select 1 union all select i + 1 from t) select max(i) from t",
        "select count(*) from range(1000000) a(x), range(1000000) b(x), plan where a.x + b.x <> row",
        "select levenshtein(repeat('ab', 60000), repeat('ba', 60000))",
        "select sleep_ms(60000)",
    ],
)
def test_what_runs_for_ever_is_stopped(pool: Pool, setup: Setup, query: str) -> None:
    response = ask(pool, setup, query, seconds=1.0)
    assert response["kind"] in ("time", "died")
    assert ask(pool, setup, "select 1")["rows"] == [["1"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "query",
    [
        "select length(repeat('x', 3000000000))",
        "select list_sum(range(1000000000))",
        "select sum(length(repeat(left(caption, 8), 100000000))) from plan",
        "select list(key) from plan, range(1000000)",
    ],
)
def test_what_needs_too_much_memory_is_stopped(pool: Pool, setup: Setup, query: str) -> None:
    response = ask(pool, setup, query, seconds=10.0)
    assert response["kind"] in ("memory", "died", "time"), response
    assert ask(pool, setup, "select 1")["rows"] == [["1"]]


def test_answers_are_cut(pool: Pool, setup: Setup) -> None:
    response = ask(pool, setup, "select * from range(1000)")
    assert len(response["rows"]) == 100 and response["more"]  # type: ignore[arg-type]
    response = ask(pool, setup, "select repeat('长', 1000000) as a from range(100)")
    assert {len(row[0]) for row in response["rows"]} == {1_001}  # type: ignore[attr-defined]
    response = ask(pool, setup, "select repeat('长', 900) as a from range(100)", characters=10_000)
    assert len(response["rows"]) == 11 and response["more"]  # type: ignore[arg-type]
    assert not ask(pool, setup, "select * from range(100)")["more"]


@pytest.mark.parametrize(
    "query",
    [
        "select count(*) from plan -- how many; truly?",
        "select count(*) from plan; -- done;",
        "select '汉字;--' as a, count(*) from plan;",
        "from funnel",
        "describe pairs",
        "summarize funnel",
        "show tables",
        "from (pivot funnel on stage in ('read', 'plan') using sum(rows_in))",
        "with t as (select source, unnest(reasons) as reason from ledger) select reason, count(*) from t group by all",
        "select domain(url), count(*) from plan group by all",
        "values (1), (null)",
        "select now(), 1::decimal(9,2), {'a': [1, 2]}, interval 1 day, 'x'::blob",
        "select began, versions from shards",
    ],
)
def test_what_reads_the_views_is_answered(pool: Pool, setup: Setup, query: str) -> None:
    response = ask(pool, setup, query)
    assert response.get("rows"), response


def test_a_child_has_no_secrets_and_is_restricted(pool: Pool, setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZHCLIP_TOKEN", "0123456789abcdef")
    with pool._child(setup) as child:
        environment = Path(f"/proc/{child.process.pid}/environ").read_bytes()
        limits = Path(f"/proc/{child.process.pid}/limits").read_text(encoding="utf-8")
    assert b"ZHCLIP" not in environment
    assert re.search(r"Max file size +0 ", limits) and re.search(r"Max core file size +0 ", limits)


def test_landlock_restricts(setup: Setup, tmp_path: Path) -> None:
    """In a process of its own: reading outside, writing inside, and TCP all fail."""
    import subprocess
    import sys

    program = """
import socket, sys
from pipeline.serve.sandbox import restrict_files
if not restrict_files([sys.argv[1]]): sys.exit("none")
assert open(sys.argv[1] + "/recipe.yaml").read()
for action in (lambda: open("/etc/passwd"), lambda: open(sys.argv[1] + "/new", "w"), lambda: open(sys.argv[2], "w"),
               lambda: socket.create_connection(("127.0.0.1", 1))):
    try: action()
    except PermissionError: continue
    sys.exit("not refused")
print("all refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, setup.run.rstrip("/"), tmp_path / "new"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.stderr.strip() == "none":
        assert not Path("/sys/kernel/security/landlock").exists()
        pytest.skip("this machine has no Landlock in its kernel")
    assert done.stdout == "all refused\n", done.stderr
    assert not (tmp_path / "new").exists()


def test_a_killed_child_is_replaced(pool: Pool, setup: Setup) -> None:
    assert ask(pool, setup, "select 1")["rows"] == [["1"]]
    for child in pool.idle:
        child.process.kill()
        child.process.wait()
    assert ask(pool, setup, "select 2").get("kind") in (None, "died")
    assert ask(pool, setup, "select 3")["rows"] == [["3"]]


def test_the_page(address: str) -> None:
    link = f"{address}/runs/merged/sql"
    text = httpx.get(link, params={"query": "select 41 + 1 as answer"}, timeout=60).text
    assert "select 41 + 1 as answer" in text and 'id="answer"' not in text  # a link runs nothing
    for view in ("pairs", "rejected", "clusters"):
        assert f"<code>{view}</code>" in text
    assert "<code>image_hash</code>" in text
    text = httpx.post(link, data={"query": "select 41 + 1 as answer, '<b>' as b, null as c"}, timeout=60).text
    assert ">42</bdi>" in text and "&lt;b&gt;" in text and "<b>" not in text and ">null</td>" in text
    answer = httpx.post(link, data={"query": "select nothing from plan"}, timeout=60)
    assert answer.status_code == 400 and "Binder Error" in answer.text
    answer = httpx.post(link, data={"query": "drop view plan"}, timeout=60)
    assert answer.status_code == 403 and "only reads" in answer.text
    assert httpx.post(link, data={"query": "x" * 100_001}).status_code == 413


def test_csv(address: str, shelf: Path) -> None:
    query = "select key, caption, score from pairs order by key"
    answer = httpx.post(f"{address}/runs/merged/sql", data={"query": query, "as": "csv"}, timeout=60)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="merged.csv"'
    rows_read = list(csv.reader(io.StringIO(answer.text)))
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"select key, caption from '{shelf}/merged/dataset/*.parquet' order by key"
        ).fetchall()
    assert rows_read[0] == ["key", "caption", "score"] and [tuple(row[:2]) for row in rows_read[1:]] == rows
    answer = httpx.post(
        f"{address}/runs/merged/sql", data={"query": "select '=1+1' a, -2 b, '@x' c", "as": "csv"}, timeout=60
    )
    assert answer.text.splitlines()[1] == "'=1+1,-2,'@x"  # no spreadsheet takes it for a formula
