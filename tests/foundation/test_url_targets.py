"""What holds of every url that is fetched, whatever metadata holds."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from foundation.failure import Failure
from foundation.urls import parse, redirected

HOSTS = ["a.example", "A.Example", "www.例子.example", "xn--fsqu00a.example", "127.0.0.1", "[::1]", "a_b.example"]
SAFE = st.characters(exclude_characters="/?#\\@[]:", exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp"))
TEXT = st.text(SAFE | st.sampled_from("%2F"), min_size=1, max_size=8)
PATHS = st.lists(TEXT, max_size=4).map("/".join)


@st.composite
def urls(draw: st.DrawFn) -> str:
    """Urls with hosts of several kinds, and any text as path, query and fragment."""
    scheme = draw(st.sampled_from(["http", "https", "HTTP"]))
    user = draw(st.sampled_from(["", "user@", "user:secret@"]))
    port = draw(st.sampled_from(["", ":", ":80", ":443", ":8080"]))
    query = draw(st.none() | TEXT)
    fragment = draw(st.none() | TEXT)
    url = f"{scheme}://{user}{draw(st.sampled_from(HOSTS))}{port}/{draw(PATHS)}"
    return url + ("" if query is None else f"?{query}") + ("" if fragment is None else f"#{fragment}")


@settings(max_examples=100, deadline=None)
@given(urls())
def test_a_target_is_plain_ascii_and_stays_what_it_is(url: str) -> None:
    target = parse(url)
    assert re.fullmatch(r"https?://[!-~]+", target.url)
    assert "#" not in target.url
    assert not re.search("%(?![0-9A-Fa-f]{2})", target.url)
    assert "secret" not in target.netloc
    assert parse(target.url) == target


@settings(max_examples=100, deadline=None)
@given(PATHS)
def test_escaping_changes_no_path(path: str) -> None:
    target = parse(f"http://a.example/{path}")
    assert unquote(target.path) == "/" + unquote(path)


@settings(max_examples=100, deadline=None)
@given(urls(), urls())
@example("http://a.example/", "http://a.example/;")
def test_an_absolute_redirect_leads_where_it_says(url: str, location: str) -> None:
    assert redirected(parse(url), parse(location).url) == parse(location)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30) | st.text(max_size=20).map("http://{}".format))
def test_any_text_is_a_target_or_a_failure(text: str) -> None:
    try:
        target = parse(text)
    except Failure as failure:
        assert failure.reason in {"url_malformed", "refused_scheme"}
    else:
        assert parse(target.url) == target


def test_half_an_emoji_is_escaped_as_unknown() -> None:
    assert parse("http://a.example/\ud83d").path == "/%EF%BF%BD"
    with pytest.raises(Failure):
        parse("ftp://a.example/")
