from __future__ import annotations

import pytest

from foundation.failure import Failure
from foundation.urls import parse, redirected


@pytest.mark.parametrize(
    ("url", "ascii_url"),
    [
        (
            "http://例子.测试/图片/猫 一.jpg",
            "http://xn--fsqu00a.xn--0zwm56d/%E5%9B%BE%E7%89%87/%E7%8C%AB%20%E4%B8%80.jpg",
        ),
        ("https://a.example/%E7%8C%AB%20.jpg", "https://a.example/%E7%8C%AB%20.jpg"),
        ("https://a.example/100%.jpg?q=50%25&名=值", "https://a.example/100%25.jpg?q=50%25&%E5%90%8D=%E5%80%BC"),
        ("HTTP://A.Example:80", "http://a.example/"),
        ("http://a.example:8080/a?b=c#part", "http://a.example:8080/a?b=c"),
        ("http://user:secret@a.example/a", "http://a.example/a"),
        ("  http://a.example/a\n", "http://a.example/a"),
        ("http://a.example/a\r\nX-Evil: 1", "http://a.example/aX-Evil:%201"),
        ("http://a.example\\b\\c.jpg", None),
        ("http://[2001:DB8::1]:81/a", "http://[2001:db8::1]:81/a"),
        ("http://a_b.example/a[1]{2}.jpg?x={3}", "http://a_b.example/a[1]%7B2%7D.jpg?x={3}"),
        ("http://a.example/\ud83d.jpg", "http://a.example/%EF%BF%BD.jpg"),
        (None, None),
        ("", None),
        ("no scheme.jpg", None),
        ("//a.example/a", None),
        ("http:///a", None),
        ("http://a.example:0/", None),
        ("http://a.example:99999/", None),
        ("http://[::1/", None),
        ("http://a b.example/", None),
        ("http://exam\u2100ple/", None),
        ("http://\u202eevil.example/", None),
    ],
)
def test_urls_become_ascii_or_are_malformed(url: str | None, ascii_url: str | None) -> None:
    if ascii_url is not None:
        assert parse(url).url == ascii_url
    else:
        with pytest.raises(Failure) as caught:
            parse(url)
        assert caught.value.reason == "url_malformed"


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a.example/a.jpg", "data:image/png;base64,AAAA", "gopher://a/"]
)
def test_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(Failure) as caught:
        parse(url)
    assert caught.value.reason == "refused_scheme"


def test_redirects_resolve_against_the_url_and_may_hold_raw_utf8() -> None:
    here = parse("https://a.example/one/two.jpg")
    raw = "../图.jpg".encode().decode("latin-1")  # as http.client hands it over
    assert redirected(here, raw).url == "https://a.example/%E5%9B%BE.jpg"
    assert redirected(here, "//b.example/x").url == "https://b.example/x"
    assert redirected(here, "?q=1").url == "https://a.example/one/two.jpg?q=1"
