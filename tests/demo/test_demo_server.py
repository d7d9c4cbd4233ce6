from __future__ import annotations

import http.client
import json
import socket
from typing import Any
from urllib.parse import quote

import pytest

from demo.server import PortTaken, serving
from demo.world import World

JPEG = b"\xff\xd8\xff"


@pytest.fixture(scope="module")
def routes(world: World) -> dict[str, dict[str, Any]]:
    return json.loads((world.web / "routes.json").read_text(encoding="utf-8"))


def get(web: str, path: str, timeout: float = 10.0) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(web.removeprefix("http://"), timeout=timeout)
    connection.request("GET", quote(path, safe="/?="))
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, body


def first_path(routes: dict[str, dict[str, Any]], beginning: str, **wanted: Any) -> str:
    return next(
        path
        for path, route in routes.items()
        if path.startswith(beginning) and all(route.get(name) == value for name, value in wanted.items())
    )


def test_images_come_as_they_are(world: World, web: str, routes: dict[str, dict[str, Any]]) -> None:
    path = first_path(routes, "/advertising/", kind="file")
    status, headers, body = get(web, path + "?from=list")
    assert (status, headers["content-type"]) == (200, "image/jpeg")
    assert body == (world.web / routes[path]["file"]).read_bytes()
    assert get(web, first_path(routes, "/图片/"))[2].startswith(JPEG)


def test_dead_links(web: str, routes: dict[str, dict[str, Any]]) -> None:
    for status in (404, 410, 500):
        path = first_path(routes, f"/{status}/")
        assert [get(web, path)[0] for _ in range(2)] == [status, status]
    assert get(web, "/no/such/path.jpg")[0] == 404


def test_a_flaky_link_works_at_the_second_try(web: str, routes: dict[str, dict[str, Any]]) -> None:
    path = first_path(routes, "/img/", kind="flaky")
    assert [get(web, path)[0] for _ in range(3)] == [503, 200, 200]


def test_a_reset_connection(web: str, routes: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(ConnectionError):
        get(web, first_path(routes, "/reset/"))


def test_redirects(web: str, routes: dict[str, dict[str, Any]]) -> None:
    status, headers, _ = get(web, first_path(routes, "/img/", kind="redirect"))
    assert status == 302
    assert get(web, headers["location"].removeprefix(web))[2].startswith(JPEG)
    assert get(web, first_path(routes, "/redirect-to-file/"))[1]["location"].startswith("file:")
    assert get(web, "/redirect-loop/0.jpg")[1]["location"] == web + "/redirect-loop/0.jpg"
    assert "192.168." in get(web, "/redirect-to-private/0.jpg")[1]["location"]


def test_bodies_that_are_no_good_images(web: str) -> None:
    assert get(web, "/html/0.jpg")[2].startswith(b"<!doctype html>")
    assert get(web, "/empty/0.jpg")[::2] == (200, b"")
    assert not get(web, "/truncated/0.jpg")[2].endswith(b"\xff\xd9")  # the end marker of a JPEG is cut off
    assert get(web, "/pixel-bomb/0.jpg")[2].startswith(b"\x89PNG")
    assert "noai" in get(web, "/opt-out/0.jpg")[1]["x-robots-tag"]


@pytest.mark.parametrize("announced", [True, False])
def test_too_many_bytes(web: str, routes: dict[str, dict[str, Any]], announced: bool) -> None:
    connection = http.client.HTTPConnection(web.removeprefix("http://"), timeout=10)
    connection.request("GET", first_path(routes, "/too-many-bytes/", announced=announced))
    response = connection.getresponse()
    assert (response.getheader("Content-Length") is not None) == announced
    assert len(response.read(8 << 20)) == 8 << 20  # and more to come
    connection.close()


def test_a_drip_goes_on_byte_by_byte(web: str) -> None:
    with socket.create_connection(tuple(web.removeprefix("http://").split(":")), timeout=60) as sock:  # type: ignore[arg-type]
        sock.sendall(b"GET /drip/0.jpg HTTP/1.1\r\nHost: demo\r\n\r\n")
        received = b""
        while len(body := received.partition(b"\r\n\r\n")[2]) < 4:
            piece = sock.recv(4096)
            assert piece  # it did not end
            received += piece
    assert len(body) < 50_000  # of those that it announces


def test_a_hang_answers_nothing(web: str) -> None:
    with pytest.raises(TimeoutError):
        get(web, "/hang/0.jpg", timeout=0.5)


def test_a_taken_port_is_named(world: World, web: str) -> None:
    port = int(web.rpartition(":")[2])
    with pytest.raises(PortTaken, match=f"port {port} "), serving(world.web, port):
        pass
