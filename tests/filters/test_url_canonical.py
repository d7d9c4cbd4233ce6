"""What canonical urls leave out, whatever the rest of the url, and that neighbours have no say."""

from __future__ import annotations

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.url import canonical_url

TEXT = st.text(st.characters(exclude_characters="/?#:@", exclude_categories=("Cs", "Cc")), min_size=1, max_size=6)
HOST = st.lists(st.text("abcxyz0189-", min_size=1, max_size=6), min_size=1, max_size=3).map(".".join)
PATH = st.lists(TEXT, max_size=3).map("/".join)
ANY_URL = st.none() | st.text(max_size=20) | st.builds("http://{}/{}".format, HOST, PATH)


def canonical(*urls: str | None) -> list[str | None]:
    return canonical_url(pl.Series(urls, dtype=pl.String)).to_list()


@settings(max_examples=100, deadline=None)
@given(host=HOST, path=PATH, query=TEXT, fragment=TEXT)
def test_spellings_of_one_address_are_equal(host: str, path: str, query: str, fragment: str) -> None:
    spellings = [
        f"http://{host}/{path}",
        f"https://{host}/{path}",
        f"HTTPS://{host.upper()}:443/{path}",
        f"http://www.{host}:80/{path}?{query}",
        f"http://{host}:/{path}",
        f"https://{host}/{path}#{fragment}",
    ]
    assert canonical(*spellings) == [f"{host}/{path}"] * len(spellings)


@settings(max_examples=100, deadline=None)
@given(host=HOST, path=PATH, other=PATH, box=st.tuples(*[st.integers(0, 999)] * 4))
def test_other_ports_paths_and_parts_of_images_are_other_addresses(
    host: str, path: str, other: str, box: tuple[int, int, int, int]
) -> None:
    part = "#xywh=" + ",".join(map(str, box))
    urls = [f"http://{host}/{path}", f"http://{host}:8080/{path}", f"http://{host}/{path}{part}"]
    if other != path:
        urls.append(f"http://{host}/{other}")
    assert len(set(canonical(*urls))) == len(urls)


@settings(max_examples=100, deadline=None)
@given(st.lists(ANY_URL, max_size=5))
def test_each_url_is_looked_at_by_itself(urls: list[str | None]) -> None:
    assert canonical(*urls) == [canonical(url)[0] for url in urls]
