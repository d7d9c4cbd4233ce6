"""Who is answered, and with which headers; names that lead elsewhere; metrics; the command."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.serve.access import is_loopback
from tests.pipeline.serve.conftest import TOKEN, command
from tests.support.runs import REPOSITORY


def raw(address: str, target: str, **headers: str) -> str:
    """The status line of the answer to a request whose target nobody has tidied up."""
    host, port = address.removeprefix("http://").split(":")
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in {"Host": host, **headers}.items())]
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(("\r\n".join([*lines, "Connection: close", "", ""])).encode())
        return connection.makefile("rb").readline().decode()


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
        "10.0.0.1",
        "",
        "[::2]",
        "evil.example:127.0.0.1",
    ],
)
def test_other_hosts_are_refused(address: str, host: str) -> None:
    for path in ("/", "/healthz", "/static/style.css", "/runs/merged/sql"):
        assert " 421 " in raw(address, path, Host=host)


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1", "[::1]:8765", "LOCALHOST"])
def test_names_of_this_machine_are_answered(address: str, host: str) -> None:
    assert " 200 " in raw(address, "/healthz", Host=host)


def test_loopback_is_told_from_others() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "", "127.0.0.1.example")))


def test_other_sites_cannot_use_a_visitors_browser(address: str) -> None:
    sql = f"{address}/runs/merged/sql"
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
    ):
        assert httpx.post(sql, data={"query": "select 1"}, headers=headers).status_code == 403
    embedded = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert httpx.get(f"{address}/runs/merged/pairs", headers=embedded).status_code == 403
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert httpx.get(f"{address}/runs/merged/pairs", headers=followed).status_code == 200


def test_every_answer_has_the_headers(address: str) -> None:
    for path in ("/", "/runs/merged", "/runs/merged/pairs", "/nothing", "/static/app.js", "/healthz", "/runs/broken"):
        headers = httpx.get(f"{address}{path}").headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff" and "server" not in headers, path


def test_pages_have_no_script_or_style_of_their_own(address: str) -> None:
    for path in ("/", "/runs/merged", "/runs/merged/pairs", "/runs/merged/sql", "/login"):
        text = httpx.get(f"{address}{path}", timeout=60).text
        assert not re.search(r"<script(?! src=\"/static/)|<style|\sstyle=|\son\w+=|javascript:", text), path


@pytest.mark.parametrize(
    "target",
    [
        "/runs/..",
        "/runs/../../etc/passwd",
        "/runs/%2e%2e",
        "/runs/%2e%2e%2f%2e%2e%2fetc",
        "/runs/..%2fsecret.html",
        "/runs/merged%2f..%2f..",
        "/runs/%00",
        "/runs/link",
        "/runs/link/pairs",
        "/runs/notes",
        "/runs/.hidden",
        "/runs/merged/images/..%2f..%2fsecret.jpg",
        "/runs/merged/images/%2e%2e.jpg",
        "/runs/merged/images/ABCDEF0123456789ABCDEF0123456789.jpg",
        "/runs/merged/pairs/%27%20or%201=1",
        "/runs/finished/report",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
    ],
)
def test_names_that_lead_elsewhere_are_not_found(address: str, target: str) -> None:
    assert " 404 " in raw(address, target)


def test_the_list_names_runs_and_tells_of_broken_ones(address: str) -> None:
    text = httpx.get(address).text
    assert re.findall(r'<a href="/runs/([^"]+)"', text) == ["finished", "hostile", "merged", "planned"]
    assert "broken" in text and "cannot be read" in text and "&lt;b&gt;odd" in text and "<b>odd" not in text
    assert "a symbolic link out of" in text
    assert httpx.get(f"{address}/runs/%3Cb%3Eodd").status_code == 503
    assert httpx.get(f"{address}/runs/broken").status_code == 503


def test_a_report_is_shown_in_a_sandbox(address: str) -> None:
    answer = httpx.get(f"{address}/runs/merged/report")
    policy = answer.headers["content-security-policy"]
    assert "A report" in answer.text and policy.startswith("sandbox") and "script-src" not in policy
    assert "allow-scripts" not in policy and "allow-same-origin" not in policy
    assert "/runs/merged/report" in httpx.get(f"{address}/runs/merged").text
    assert "zhclip report" in httpx.get(f"{address}/runs/planned").text


def test_metrics(address: str, shelf: Path) -> None:
    httpx.get(f"{address}/runs/merged/pairs")
    httpx.get(f"{address}/runs/some-name-that-is-none")
    answer = httpx.get(f"{address}/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    planned = len(list((shelf / "finished" / "plan").glob("*.parquet")))
    assert samples["zhclip_shards_done", ("run", "finished"), ("stage", "plan")] == planned
    assert samples["zhclip_shards_expected", ("run", "planned"), ("stage", "download")] == planned
    assert ("zhclip_shards_expected", ("run", "planned"), ("stage", "publish")) not in samples
    rows = {
        labels[0][1]: value
        for (name, *labels), value in samples.items()
        if name == "zhclip_rows" and labels[1:] == [("run", "merged"), ("source", "laion")]
    }
    assert rows["read"] == sum(value for outcome, value in rows.items() if outcome != "read") > 0
    timed = {dict(labels)["route"] for (name, *labels) in samples if name == "zhclip_http_request_seconds_count"}
    assert "/runs/{run}/pairs" in timed and "some-name" not in answer.text


@pytest.mark.e2e
def test_with_a_token(shelf: Path) -> None:
    with command(str(shelf), "--host", "0.0.0.0", token=TOKEN) as (process, printed):
        address = f"http://127.0.0.1:{printed.rsplit(':', 1)[1]}"
        assert httpx.get(f"{address}/healthz").text == "ok\n"
        for path in ("/", "/metrics", "/runs/merged", "/runs/merged/images/x.jpg", "/nothing"):
            assert httpx.get(address + path).status_code == 401
        assert httpx.get(address, headers={"accept": "text/html"}).headers["location"] == "/login"
        wrong = ["", "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}0", f"Basic {TOKEN}", TOKEN]
        assert {httpx.get(address, headers={"authorization": header}).status_code for header in wrong} == {401}
        assert httpx.get(f"{address}/?token={TOKEN}").status_code == 401
        assert httpx.get(address, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert httpx.get(address, cookies={"zhclip_session": TOKEN}).status_code == 401
        with httpx.Client(base_url=address) as browser:
            assert browser.post("/login", data={"token": "0" * 32}).status_code == 403
            answer = browser.post("/login", data={"token": TOKEN})
            cookie = answer.headers["set-cookie"].lower()
            assert "httponly" in cookie and "samesite=strict" in cookie and TOKEN not in cookie
            assert browser.get("/runs/merged").status_code == 200
            browser.post("/logout")
            assert browser.get("/runs/merged").status_code == 401
        assert process.poll() is None
    assert process.returncode == 0


@pytest.mark.e2e
def test_what_the_command_refuses(shelf: Path) -> None:
    def said(*options: str, token: str = "") -> str:
        line = [sys.executable, "-m", "zhclip", "serve", *options]
        environment = {**os.environ, "ZHCLIP_TOKEN": token, "COLUMNS": "200"}
        done = subprocess.run(
            line, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 2, done
        return done.stderr

    assert "needs a token" in said(str(shelf), "--host", "0.0.0.0")
    assert "16 are the least" in said(str(shelf), "--host", "0.0.0.0", token="short")
    assert "not a folder" in said(str(shelf / "nothing"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "in use" in said(str(shelf), "--port", str(taken.getsockname()[1]))
