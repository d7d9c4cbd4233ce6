"""What is built once is built by one process; a shared server lives as long as someone uses it."""

from __future__ import annotations

import multiprocessing
import socket
import time
import urllib.request
from pathlib import Path

import pytest

from tests.support import cache


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "FOLDER", tmp_path)
    monkeypatch.setattr(cache, "_digest", lambda: "digest")
    return tmp_path


def build(folder: Path) -> None:
    with (folder.parent / "builds").open("a") as log:
        log.write("built\n")
    time.sleep(0.2)  # long enough that the other process asks meanwhile
    (folder / "content").write_text("here", encoding="utf-8")


def ask(folder: Path) -> str:
    cache.FOLDER, cache._digest = folder, lambda: "digest"
    return (cache.cached("thing", build) / "content").read_text(encoding="utf-8")


def test_processes_that_ask_at_a_time_build_it_once(folder: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(ask, [folder] * 4, chunksize=1) == ["here"] * 4
    assert (folder / "builds").read_text(encoding="utf-8") == "built\n"


def test_what_was_left_half_built_is_built_anew() -> None:
    def fail(folder: Path) -> None:
        (folder / "rest").touch()
        raise RuntimeError("no drawings")

    with pytest.raises(RuntimeError, match="no drawings"):
        cache.cached("thing", fail)
    built = cache.cached("thing", build)
    assert (built / "content").exists() and not (built / "rest").exists()


def test_a_server_is_shared_and_ends_with_its_last_user(folder: Path) -> None:
    web = folder / "web"
    web.mkdir()
    (web / "page.html").write_text("here", encoding="utf-8")
    (web / "routes.json").write_text('{"/page": {"kind": "file", "file": "page.html"}}', encoding="utf-8")
    address = f"http://127.0.0.1:{cache.unused_port()}"
    with cache.shared_server(folder, web, address):
        with cache.shared_server(folder, web, address):
            assert urllib.request.urlopen(f"{address}/page").read() == b"here"
        assert urllib.request.urlopen(f"{address}/page").read() == b"here"
    port = int(address.rpartition(":")[2])
    while _listens(port):  # it ends by itself; where it does not, this test does not either
        time.sleep(0.02)
    with cache.shared_server(folder, web, address):
        assert urllib.request.urlopen(f"{address}/page").read() == b"here"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
