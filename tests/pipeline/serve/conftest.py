"""A folder of runs that is served: finished, hostile and unfinished ones, and what must not be served at all."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uvicorn

from pipeline.run.folder import Run
from pipeline.run.names import FORMAT_FILE
from pipeline.serve.access import Access
from pipeline.serve.app import create_app
from tests.support.runs import REPOSITORY

TOKEN = "0123456789abcdef0123456789abcdef"
HOSTILE = [
    "<script>document.title='stolen'</script>一只猫",
    "\u202e反转\u202c的文字",
    "😀👩‍👩‍👧 表情",
    "很长" * 30_000,
    '"></a></style><img src=x onerror="document.title=\'stolen\'">',
    "{{ 7 * 7 }} {% raw %}",
]
HOSTILE_URLS = [
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    'http://x.example/"onmouseover="alert(1)',
]


@pytest.fixture(scope="session")
def shelf(finished: Run, merged: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs `merged`, `finished`, `hostile` and `planned`, a broken one, a link that leads out, and folders that are no runs."""
    folder = tmp_path_factory.mktemp("shelf") / "runs"
    shutil.copytree(merged.folder, folder / "merged")
    shutil.copytree(finished.folder, folder / "finished")
    shutil.copytree(finished.folder, folder / "hostile")
    _make_hostile(folder / "hostile")
    _make_planned(finished.folder, folder / "planned")
    shutil.copytree(folder / "planned", folder.parent / "elsewhere")
    (folder / "link").symlink_to(folder.parent / "elsewhere")
    for name in ("broken", "<b>odd", "a b"):
        (folder / name).mkdir()
        (folder / name / "recipe.yaml").write_text("sources: [", encoding="utf-8")
        shutil.copy(finished.folder / FORMAT_FILE, folder / name)
    (folder / "notes").mkdir()
    (folder.parent / "secret.html").write_text("secret", encoding="utf-8")
    (folder / "merged" / "report.html").write_text(
        "<h1>A report</h1><script>document.title = 'ran'</script>", encoding="utf-8"
    )
    (folder / "finished" / "report.html").symlink_to(folder.parent / "secret.html")
    return folder


def _make_hostile(folder: Path) -> None:
    paths = [*folder.glob("plan/*.parquet"), *folder.glob("dataset/*.parquet"), *folder.glob("ledger/*/*.parquet")]
    for path in paths:
        table = pq.read_table(path)
        for name, values in (("caption", HOSTILE), ("url", HOSTILE_URLS)):
            texts = pa.array([values[row % len(values)] for row in range(table.num_rows)], pa.string())
            index = table.schema.get_field_index(name)
            table = table.set_column(index, table.schema.field(index), texts)
        pq.write_table(table, path)


def _make_planned(source: Path, folder: Path) -> None:
    """A run that was stopped when its plan was done."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("download", "score", "select", "dataset", "catalog*"))


@contextmanager
def served(folder: Path, access: Access) -> Iterator[str]:
    """The service in a thread of this process, by real HTTP on loopback; its address."""
    server = uvicorn.Server(
        uvicorn.Config(create_app(folder, access), port=0, log_level="critical", server_header=False)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture(scope="session")
def address(shelf: Path) -> Iterator[str]:
    """Of a service without a token."""
    with served(shelf, Access(loopback=True)) as served_at:
        yield served_at


@contextmanager
def command(*options: str, token: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`zhclip serve` itself: the process and its address. It is told to stop as by Ctrl-C at the end."""
    line = [sys.executable, "-m", "zhclip", "serve", *options, "--port", "0"]
    environment = {"PATH": "/usr/bin:/bin", "ZHCLIP_TOKEN": token, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(line, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        while not (match := re.search(r"http://\S+:\d+", said)) and (more := process.stderr.readline()):
            said += more
        assert match, said
        try:
            yield process, match[0]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
