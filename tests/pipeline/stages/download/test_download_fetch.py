from __future__ import annotations

import gzip
import hashlib
import socket

import pytest

from foundation.failure import Failure
from pipeline.recipe.download import REASONS
from pipeline.stages.download.fetch import Fetcher
from tests.support.loopback import Answer, Web

BODY = bytes(range(256)) * 20


def failure(web: Web, url: str, **changes: object) -> Failure:
    """How fetching `url` fails."""
    with pytest.raises(Failure) as caught:
        Fetcher(web.config(**changes)).fetch(url)
    reason = caught.value.reason
    assert reason in REASONS or reason.startswith("http_")
    return caught.value


def test_a_body_comes_with_its_hash_and_type(web: Web) -> None:
    url = web.put("/a", Answer(BODY, headers=(("Content-Type", "image/jpeg"),)))
    fetched = Fetcher(web.config()).fetch(url)
    assert (fetched.body, fetched.content_type) == (BODY, "image/jpeg")
    assert fetched.sha256 == hashlib.sha256(BODY).hexdigest()


def test_bodies_without_length_chunked_or_compressed_unasked(web: Web) -> None:
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(BODY), BODY) for _ in range(2)) + b"0\r\n\r\n"
    for path, answer, body in (
        ("/open", Answer(BODY, length=-1), BODY),
        ("/chunked", Answer(chunked, length=-1, headers=(("Transfer-Encoding", "chunked"),)), BODY * 2),
        ("/gzip", Answer(gzip.compress(BODY), headers=(("Content-Encoding", "gzip"),)), BODY),
    ):
        assert Fetcher(web.config()).fetch(web.put(path, answer)).body == body


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/图片/猫 一.jpg?名=值", "/%E5%9B%BE%E7%89%87/%E7%8C%AB%20%E4%B8%80.jpg?%E5%90%8D=%E5%80%BC"),
        ("/%E7%8C%AB.jpg", "/%E7%8C%AB.jpg"),
        ("/100%.jpg", "/100%25.jpg"),
    ],
)
def test_non_ascii_urls(web: Web, path: str, asked: str) -> None:
    web.put(asked, Answer(BODY))
    assert Fetcher(web.config()).fetch(f"http://{web.host}{path}").body == BODY


def test_redirects_are_followed(web: Web) -> None:
    web.put("/%E7%8C%AB", Answer(BODY))
    web.put("/b", Answer(status=308, headers=(("Location", "猫"),)))
    url = web.put("/a", Answer(status=302, headers=(("Location", "/b"),)))
    assert Fetcher(web.config()).fetch(url).body == BODY


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://169.254.169.254/latest/", "refused_address"),
        ("http://localhost:{port}/b", "refused_address"),
        ("http://127.0.0.1:1/b", "refused_address"),  # allowed on the server's own port only
        ("//[::ffff:127.0.0.1]:{port}/b", "refused_address"),
        ("file:///etc/passwd", "refused_scheme"),
        ("http://[::1/", "url_malformed"),
    ],
)
def test_redirects_are_checked_like_the_first_url(web: Web, location: str, reason: str) -> None:
    web.put("/b", Answer(BODY))
    location = location.format(port=web.host.partition(":")[2])
    url = web.put("/a", Answer(status=302, headers=(("Location", location),)))
    assert failure(web, url).reason == reason
    assert web.hits == {"/a": 1}


def test_a_redirect_to_another_private_server_never_reaches_it(web: Web) -> None:
    other = Web()
    target = other.put("/secret", Answer(BODY))
    url = web.put("/a", Answer(status=302, headers=(("Location", target),)))
    assert failure(web, url).reason == "refused_address"
    other.close()
    assert not other.hits


def test_private_hosts_are_refused_without_an_exception_for_them(web: Web) -> None:
    url = web.put("/a", Answer(BODY))
    port = web.host.partition(":")[2]
    assert failure(web, url, allow_hosts=()).reason == "refused_address"
    assert failure(web, f"http://localhost:{port}/a").reason == "refused_address"
    assert not web.hits


def test_redirect_loop(web: Web) -> None:
    url = web.put("/a", Answer(status=302, headers=(("Location", "/a"),)))
    assert failure(web, url, max_redirects=3).reason == "too_many_redirects"
    assert web.hits["/a"] == 4


@pytest.mark.parametrize(
    ("answers", "hits", "reason"),
    [
        ((Answer(status=503), Answer(BODY)), 2, None),
        ((Answer(status=500), Answer(status=502), Answer(BODY)), 3, None),
        ((Answer(status=408), Answer(status=425), Answer(BODY)), 3, None),
        ((Answer(status=429, headers=(("Retry-After", "0"),)), Answer(BODY)), 2, None),
        ((Answer(raw=b""), Answer(BODY)), 2, None),
        ((Answer(raw=b"220 not HTTP at all\r\n"), Answer(BODY)), 2, None),
        ((Answer(BODY, length=len(BODY) + 1), Answer(BODY)), 2, None),
        ((Answer(status=503),), 3, "http_503"),
        ((Answer(BODY, length=len(BODY) + 1),), 3, "connection_lost"),
        ((Answer(status=429, headers=(("Retry-After", "3600"),)), Answer(BODY)), 1, "http_429"),
        (
            (Answer(status=503, headers=(("Retry-After", "Fri, 31 Dec 2100 23:59:59 GMT"),)), Answer(BODY)),
            1,
            "http_503",
        ),
        ((Answer(status=404), Answer(BODY)), 1, "http_404"),
        ((Answer(status=403), Answer(BODY)), 1, "http_403"),
        ((Answer(status=304), Answer(BODY)), 1, "http_304"),
        ((Answer(status=302), Answer(BODY)), 1, "http_302"),  # without a Location
        ((Answer(BODY, headers=(("X-Robots-Tag", "max-snippet: 5, noai"),)), Answer(BODY)), 1, "opted_out"),
        ((Answer(b""), Answer(BODY)), 1, "empty_response"),
    ],
)
def test_retries_only_what_can_pass(web: Web, answers: tuple[Answer, ...], hits: int, reason: str | None) -> None:
    url = web.put("/a", *answers)
    if reason is None:
        assert Fetcher(web.config()).fetch(url).body == BODY
    else:
        assert failure(web, url).reason == reason
    assert web.hits["/a"] == hits


def test_opt_out_may_stand_in_any_of_several_headers(web: Web) -> None:
    tags = (("X-Robots-Tag", "otherbot: noai"), ("x-robots-tag", "zhclip: noimageai"))
    url = web.put("/a", Answer(BODY, headers=tags))
    assert failure(web, url).reason == "opted_out"
    assert Fetcher(web.config(opt_out_directives=())).fetch(url).body == BODY


@pytest.mark.parametrize(
    "answer", [Answer(BODY, drip=0.05), Answer(BODY, drip_headers=0.05, headers=(("X", "y" * 400),))]
)
def test_a_slow_drip_meets_the_deadline(web: Web, answer: Answer) -> None:
    # Each single read is quick; without a total deadline these answers would take 20 s and more, and then succeed.
    url = web.put("/a", answer)
    assert failure(web, url, deadline=1.0).reason == "timeout"
    assert web.hits["/a"] == 1


def test_a_single_long_wait_ends_with_the_deadline(web: Web) -> None:
    url = web.put("/a", Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", delay=1.5))
    assert failure(web, url, deadline=0.3).reason == "timeout"


def test_a_silent_server_is_tried_again_within_the_deadline(web: Web) -> None:
    silent = Answer(BODY[:9], drip=1.5, length=1000)
    url = web.put("/a", silent, Answer(BODY))
    assert Fetcher(web.config(timeout=0.5)).fetch(url).body == BODY
    assert web.hits["/a"] == 2


@pytest.mark.parametrize(
    "answer",
    [
        Answer(BODY),  # declared
        Answer(b"", length=10**15),
        Answer(BODY, length=-1),  # sent
        Answer(b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY), length=-1, headers=(("Transfer-Encoding", "chunked"),)),
        Answer(gzip.compress(bytes(10**6)), headers=(("Content-Encoding", "gzip"),)),  # 1 kB that becomes 1 MB
    ],
)
def test_byte_cap(web: Web, answer: Answer) -> None:
    url = web.put("/a", answer)
    assert failure(web, url, max_bytes=5000).reason == "too_many_bytes"
    assert web.hits["/a"] == 1


def test_a_body_of_exactly_the_cap_passes(web: Web) -> None:
    for path, answer in (("/a", Answer(BODY)), ("/b", Answer(BODY, length=-1))):
        assert Fetcher(web.config(max_bytes=len(BODY))).fetch(web.put(path, answer)).body == BODY


def test_no_connection_no_name_no_tls(web: Web) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert failure(web, f"http://127.0.0.1:{port}/", allow_hosts=("127.0.0.1",)).reason == "connect_failed"
    assert failure(web, f"http://{'a' * 64}.example/").reason == "dns_failed"
    assert failure(web, f"https://{web.host}/a").reason == "tls_failed"


def test_the_environment_names_no_proxy(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Web()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://{proxy.host}")
    assert Fetcher(web.config()).fetch(web.put("/a", Answer(BODY))).body == BODY
    proxy.close()
    assert not proxy.hits
