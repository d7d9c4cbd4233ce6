"""`zhclip sql`: the cookbook, every way to give an answer, the prompt in a real terminal, a run behind HTTP."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from pipeline.inspect.catalog import attach, connect
from pipeline.inspect.catalog.images import image_places, read_image
from pipeline.inspect.catalog.views import VIEWS
from pipeline.run.folder import Run
from pipeline.run.manifest import RunError
from pipeline.stages.opening import read_run
from tests.support.paths import file_of
from tests.support.runs import REPOSITORY
from zhclip.app import app

COOKBOOK = re.findall(r"```sql\n(.*?)```", (REPOSITORY / "docs/sql.md").read_text(encoding="utf-8"), re.DOTALL)
ENDLESS = "select count(*) from range(10000000000) a, range(10000000000) b"
MAY_BE_EMPTY = (
    "from clusters",
    "'test\\_%'",
    "contains(caption",
    "'blacklist%'",
    "min_score - 0.02",
    "where stage = 'download' group",
)  # not in every run


def zhclip(*words: object, given: str = "") -> Result:
    return CliRunner().invoke(app, ["sql", *map(str, words)], input=given)


@pytest.mark.parametrize("which", ["finished", pytest.param("merged", marks=pytest.mark.e2e)])
def test_every_question_of_the_cookbook_is_answered(which: str, request: pytest.FixtureRequest) -> None:
    assert len(COOKBOOK) >= 20
    run: Run = request.getfixturevalue(which)
    with connect(run.folder) as connection:
        attach(connection, "before", run.folder)
        for query in COOKBOOK:
            answered = connection.sql(query).to_arrow_table().num_rows
            assert answered or any(part in query for part in MAY_BE_EMPTY), query


@pytest.fixture(scope="module")
def planned(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose plan is done and nothing else, in a folder whose name wants quoting."""
    folder = tmp_path_factory.mktemp("planned") / '它\'s a "run"'
    shutil.copytree(
        finished.folder, folder, ignore=shutil.ignore_patterns("download", "score", "select", "dataset", "catalog*")
    )
    return read_run(folder)


def test_an_unfinished_run_has_the_same_views_and_columns(planned: Run, finished: Run) -> None:
    with connect(planned.folder) as early, connect(finished.folder) as late:
        for view in VIEWS:
            assert early.execute(f"describe {view}").fetchall() == late.execute(f"describe {view}").fetchall(), view
        for query in COOKBOOK[:-1]:
            early.sql(query).to_arrow_table()
        assert (
            early.execute("select count(*) from plan").fetchall()
            == late.execute("select count(*) from plan").fetchall()
        )
        assert early.execute("select count(*) from pairs").fetchall() == [(0,)]


def test_only_files_that_a_manifest_names_exist(finished: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    before = pq.read_metadata(file_of(finished, "score", "000001")).num_rows
    (folder / "score/000001.json").unlink()
    with connect(folder) as connection:
        assert connection.execute("select count(*) from scores where shard = '000001'").fetchall() == [(0,)]
        left = connection.execute("select count(*) from scores").fetchone()
    with connect(finished.folder) as connection:
        assert connection.execute("select count(*) from scores").fetchone() == (left[0] + before,)


def test_plain_duckdb_needs_nothing_but_the_catalog(finished: Run) -> None:
    with connect(finished.folder) as connection:
        expected = connection.execute("select source, count(*) from rejected group by all order by all").fetchall()
    text = (finished.folder / "catalog.sql").read_text(encoding="utf-8")
    with duckdb.connect() as plain:
        plain.execute(f"set variable run = '{finished.folder}/'")
        plain.execute(text)
        assert plain.execute("select source, count(*) from rejected group by all order by all").fetchall() == expected


def test_answers_as_table_csv_json_and_parquet(finished: Run, tmp_path: Path) -> None:
    query = "select key, source, reasons, caption from rejected where key is not null order by key, row"
    with connect(finished.folder) as connection:
        expected = connection.execute(query).fetchall()
    shown = zhclip(finished.folder, query)
    assert shown.exit_code == 0 and expected[0][0] in shown.stdout and "the first 100 rows" in shown.stdout
    as_csv = list(csv.reader(zhclip(finished.folder, query, "--csv").stdout.splitlines()))
    assert [(row[0], row[1], json.loads(row[2])) for row in as_csv[1:]] == [row[:3] for row in expected]
    as_json = [json.loads(line) for line in zhclip(finished.folder, "-", "--json", given=query).stdout.splitlines()]
    assert [tuple(row.values()) for row in as_json] == expected
    done = zhclip(finished.folder, query, "--parquet", tmp_path / "answer.parquet")
    assert done.exit_code == 0 and pq.read_table(tmp_path / "answer.parquet")["key"].to_pylist() == [
        row[0] for row in expected
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["answer.parquet"]


def test_a_table_fits_and_a_caption_cannot_command_the_terminal(finished: Run) -> None:
    shown = zhclip(finished.folder, "from pairs limit 2").stdout.splitlines()
    assert any(line.split()[:1] == ["image_sha256"] for line in shown)  # too wide for a table: one below the other
    hostile = "select chr(27) || '[2J' || chr(155) || '31m' || chr(8238) || '家👨‍👩‍👧' || chr(10) || 'x' as caption"
    assert "\\x1b[2J\\x9b31m\\u202e家👨‍👩‍👧 x" in zhclip(finished.folder, hostile).stdout
    both = zhclip(finished.folder, "create table t as select 7 as a; from t; select 8 as b").stdout.split()
    assert [word for word in both if word in ("7", "8")] == ["7", "8"]
    odd = "select 1.5::decimal(4, 2) as a, interval 1 day as b, 'ab'::blob as c, {'d': 1} as d, null as e"
    assert zhclip(finished.folder, odd, "--csv").exit_code == 0


def test_what_cannot_be_answered(finished: Run, tmp_path: Path) -> None:
    wrong = zhclip(finished.folder, "select colour from pairs")
    assert wrong.exit_code == 1 and "colour" in wrong.stderr and "Traceback" not in wrong.stderr
    assert zhclip(tmp_path, "from pairs").exit_code == 2
    assert zhclip(finished.folder, "from pairs", "--csv", "--json").exit_code == 2
    assert zhclip(finished.folder, "from pairs", "--attach", "no name=x").exit_code == 2


@pytest.mark.e2e
def test_a_prompt_in_a_terminal(finished: Run, tmp_path: Path) -> None:
    with Terminal([sys.executable, "-m", "zhclip", "sql", str(finished.folder)], tmp_path) as terminal:
        terminal.until("sql>")
        terminal.type("select count(*) as found\n")
        terminal.until("...>")
        terminal.type("from pairs;\n")
        rows = sum(manifest.counts["out"] for manifest in finished.manifests("publish"))
        terminal.until(f"{rows:,}")
        terminal.until("1 row,")
        terminal.until("sql>")
        terminal.type("select count(*) as found from rejec\t")
        terminal.until("ted")  # what Tab adds
        terminal.type(";\n")
        terminal.until("1 row,")
        terminal.until("sql>")
        terminal.type(f".csv {tmp_path}/answer.csv\n")
        terminal.until("done")
        terminal.until("sql>")
        terminal.type("select nothing_like_it;\n")
        terminal.until("Error")
        terminal.until("sql>")
        terminal.type(f"{ENDLESS};\n")
        terminal.interrupt_until("stopped")
        terminal.until("sql>")
        terminal.type(".quit\n")
        assert terminal.process.wait(20) == 0
    with connect(finished.folder) as connection:
        rejected = connection.execute("select count(*) from rejected").fetchall()[0][0]
    assert (tmp_path / "answer.csv").read_text(encoding="utf-8") == f'"found"\n{rejected}\n'
    assert "from pairs;" in (tmp_path / "zhclip/sql_history").read_text(encoding="utf-8")


@pytest.mark.e2e
def test_ctrl_c_stops_a_query(finished: Run, tmp_path: Path) -> None:
    query = f"select 40 + 2 as ready; {ENDLESS}"
    with Terminal([sys.executable, "-m", "zhclip", "sql", str(finished.folder), query], tmp_path) as terminal:
        terminal.until("42")
        terminal.interrupt_until("stopped")
        assert terminal.process.wait(20) == 130


class Terminal:
    """A program in a real pseudo-terminal, which Ctrl-C ends as that of any foreground job (CI's own jobs ignore it)."""

    def __init__(self, command: list[str], state: Path) -> None:
        self.master, slave = pty.openpty()
        environment = os.environ | {"XDG_STATE_HOME": str(state), "TERM": "xterm", "COLUMNS": "120", "LINES": "60"}
        self.process = subprocess.Popen(
            command, cwd=REPOSITORY, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)

    def type(self, text: str) -> None:
        self.seen = ""
        os.write(self.master, text.replace("\n", "\r").encode())

    def interrupt_until(self, text: str) -> None:
        """Presses again, as people do: what comes while the prompt hands the query over is the prompt's, and lost."""
        for _ in range(20):
            time.sleep(1.5)
            os.kill(self.process.pid, signal.SIGINT)
            with suppress(AssertionError):
                return self.until(text, 3)
        raise AssertionError(f"pressed Ctrl-C twenty times: no {text!r} in:\n{self.seen[-3000:]}")

    def until(self, text: str, seconds: float = 40) -> None:
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end and self.process.poll() is None, f"no {text!r} in:\n{self.seen[-3000:]}"
            if select.select([self.master], [], [], 0.2)[0]:
                output = os.read(self.master, 65536).decode(errors="replace")
                if "\x1b[6n" in output:
                    os.write(self.master, b"\x1b[1;1R")  # a terminal says where its cursor is
                self.seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output)
        self.seen = self.seen.partition(text)[2]


class Ranges(SimpleHTTPRequestHandler):
    """Static files with byte ranges, as object stores serve them; counts what it sends."""

    sent = 0
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return self.send_error(404)
        content, asked = path.read_bytes(), re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = (int(asked[1]), int(asked[2] or len(content) - 1)) if asked else (0, len(content) - 1)
        piece = content[first : last + 1]
        Ranges.sent += len(piece)
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(piece)))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{first + len(piece) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(piece)
        return None

    def log_message(self, *words: object) -> None:
        """Quiet."""


@pytest.fixture
def address(finished: Run) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *rest: Ranges(*rest, directory=str(finished.folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_run_behind_http(address: str, finished: Run) -> None:
    with connect(finished.folder) as here, connect(address) as there:
        for query in (
            "select count(*) from rejected",
            "select source, sum(rows_out) from funnel group by all order by all",
        ):
            assert here.execute(query).fetchall() == there.execute(query).fetchall()
        Ranges.sent = 0
        keys = [key for (key,) in there.execute("select key from pairs order by key limit 3").fetchall()]
        places = image_places(there, keys)
        tars = sum(path.stat().st_size for path in finished.folder.glob("*/*.tar"))
        assert [read_image(address, places[key]) for key in keys] == [
            read_image(finished.folder, places[key]) for key in keys
        ]
        assert Ranges.sent < tars / 2  # of the tars, three images; of the Parquet files, what was asked for
    with pytest.raises(RunError, match=r"catalog\.sql"):
        connect(f"{address}/raw")
