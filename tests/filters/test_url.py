"""Which urls can be fetched, and which must not be."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest

from filters.url import UrlSanity, canonical_url


def verdict(url: str | None, **options: object) -> str | None:
    table = pa.table({"url": pa.array([url], pa.string())})
    reasons = [name for name, mask in UrlSanity(**options).rejects(table).items() if mask.to_pylist()[0]]
    assert len(reasons) <= 1, reasons
    return reasons[0].removeprefix("url_") if reasons else None


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/a.jpg",
        "https://img-1.example.com.cn/a/b.jpg?x=1&y=2#z",
        "HTTPS://Example.COM/a.jpg",
        "http://example.com:8080/a.jpg",
        "http://example.com:/a.jpg",
        "http://example.com",
        "http://例子.中国/图片/熊猫.jpg",
        "https://example.com/图片（一）.jpg",
        "http://under_score.example.com/a.jpg",
        "http://8.8.8.8/a.jpg",
        "http://[2606:4700:4700::1111]/a.jpg",
        "http://example.com/a@b.jpg",  # @ in a path is no user
        "http://localhost.example.com/a.jpg",
        "http://10.example.com/a.jpg",
        "http://example.com./a.jpg",
        "http://134744072/",  # 8.8.8.8 in decimal
    ],
)
def test_good(url: str) -> None:
    assert verdict(url) is None


@pytest.mark.parametrize("url", [None, "", "  ", "\u3000\n"])
def test_missing(url: str | None) -> None:
    assert verdict(url) == "missing"


@pytest.mark.parametrize(
    "url",
    [
        "example.com/a.jpg",
        "//example.com/a.jpg",
        "/a.jpg",
        "http:///a.jpg",
        "http:a.jpg",
        "http://",
        "http://example.com/a b.jpg",
        " http://example.com/a.jpg",
        "http://example.com/a\x00.jpg",
        "http://example.com/a\n.jpg",
        "http://user:word@example.com/a.jpg",
        "http://example.com@127.0.0.1/a.jpg",
        "http://example.com\\@127.0.0.1/a.jpg",
        "http://example.com:80a/a.jpg",
        "http://example.com:65536/a.jpg",
        "http://example.com:0/a.jpg",
        "http://exa<mple.com/a.jpg",
        "http://127%2e0.0.1/a.jpg",
        "http://a..com/a.jpg",
        "http://[::zz]/a.jpg",
        "http://1.2.3.256/a.jpg",
        "http://1.2.3.4.5/a.jpg",
        "http://example.com/" + "a" * 2048,
    ],
)
def test_malformed(url: str) -> None:
    assert verdict(url) == "malformed"


@pytest.mark.parametrize("url", ["ftp://a.cn/x", "file:///etc/passwd", "data:image/png;base64,AA", "javascript:x"])
def test_scheme(url: str) -> None:
    assert verdict(url) == "scheme"


def test_schemes_are_a_choice() -> None:
    assert verdict("http://example.com/a.jpg", schemes=("https",)) == "scheme"
    assert verdict("ftp://example.com/a.jpg", schemes=("ftp",)) is None


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST", "a.localhost", "printer.local", "metadata.google.internal", "router.lan", "server",
        "127.0.0.1", "127.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.0.0.1.", "１２７.0.0.1", "127。0。0。1",
        "[::1]", "[::]", "[fe80::1]", "[fd00::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    ],
)  # fmt: skip
def test_private(host: str) -> None:
    assert verdict(f"http://{host}/a.jpg") == "private"
    assert verdict(f"http://{host}:8080/a.jpg") == "private"


def test_allowed_hosts() -> None:
    assert verdict("http://127.0.0.1:8000/a.jpg", allow_hosts=("127.0.0.1:8000",)) is None
    assert verdict("http://127.0.0.1:8001/a.jpg", allow_hosts=("127.0.0.1:8000",)) == "private"
    assert verdict("http://127.0.0.1:8001/a.jpg", allow_hosts=("127.0.0.1",)) is None
    assert verdict("http://LocalHost/a.jpg", allow_hosts=("localhost:80",)) is None
    assert verdict("https://localhost/a.jpg", allow_hosts=("localhost:80",)) == "private"
    assert verdict("http://localhost:0/a.jpg", allow_hosts=("localhost",)) == "malformed"


def test_length_bound_is_inclusive() -> None:
    url = "http://example.com/" + "图" * 81
    assert verdict(url, max_length=100) is None
    assert verdict(url + "x", max_length=100) == "malformed"


def test_parts_of_an_image_are_other_pictures_than_the_whole_and_than_each_other() -> None:
    urls = [
        "http://a.cn/x.jpg#xywh=1,2,3,4",
        "https://www.A.cn:443/x.jpg?y#xywh=1,2,3,4",
        "http://a.cn/x.jpg#top",
        None,
    ]
    local = ["local:vg/VG_100K/1.jpg#xywh=1,2,3,4", "local:vg/VG_100K/1.jpg#xywh=1,2,3,5"]
    canonical = canonical_url(pl.Series([*urls, *local])).to_list()
    assert canonical[:4] == ["a.cn/x.jpg#xywh=1,2,3,4", "a.cn/x.jpg#xywh=1,2,3,4", "a.cn/x.jpg", None]
    assert len(set(canonical[4:])) == 2
