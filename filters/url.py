"""Urls of images: what can be fetched at all, what must not be, and which spellings mean the same image."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.base import Filter
from filters.text import strings
from foundation.config import value
from foundation.lazy import polars as pl

PLAIN = r"^https?://[a-z0-9.-]+/"
"""A url whose canonical form needs no look at its authority: lower case, no port, no user."""

SOUND = r"^https?://(?:[a-z0-9_-]+\.)+[a-z]{2,24}/[!-~\u{4e00}-\u{9fff}]*$"
"""A url that is well formed beyond doubt: a host of ASCII labels under a domain of letters, no port, no user."""

LOCAL_NAME = r"(?:^|\.)(?:localhost|localdomain|local|internal|intranet|lan|home\.arpa)$"
"""Names that never leave a machine or its network: RFC 6761 (localhost), 6762 (local), 8375 (home.arpa), and customs."""

PARTS = r"^(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?(?://(?P<authority>[^/?#]*))?(?P<path>[^?#]*)"
"""RFC 3986, appendix B, without query and fragment."""

HOST = r"^[^\x00-\x20\x7f-\x9f\s!-,/:-@\[-^`{-~\u{3000}-\u{303f}\u{fff0}-\u{ffff}]+$"
"""Letters, digits, hyphen, underscore, dot; any other script. No `%`: it could hide the dots of an address."""


class UrlSanity(Filter):
    """Rejects urls that cannot be fetched, and those that lead into a private network.

    Each url gets one reason: missing (null or blank), of a scheme not listed, malformed (no scheme or host, white space or
    control characters, a user, a port outside 1 to 65535, a host that is no name, longer than `max_length`), or private
    (addresses that are not global, in any notation that `inet_aton` takes; local names; names without a dot).
    Urls with other scripts than ASCII are fine. Private is judged by the text alone: a name's address is the
    downloader's to check.
    """

    reasons: ClassVar[Mapping[str, str]] = {
        "url_missing": "the row names no image: its url is null or blank",
        "url_malformed": "nothing can be fetched from the url, or it names a file outside the source's folders",
        "url_scheme": "the url's scheme is not one of those in `schemes`",
        "url_private": "the url leads into a private network",
    }
    columns: ClassVar[tuple[str, ...]] = ("url",)

    schemes: tuple[str, ...] = value(("http", "https"), "schemes kept")
    max_length: int = value(2048, "longest url kept", "characters", ge=1)
    allow_hosts: tuple[str, ...] = value((), "private hosts kept all the same, each `host` or `host:port`")

    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """Masks for `url_missing`, `url_malformed`, `url_scheme` and `url_private`; at most one is True in a row."""
        url = strings(pairs, "url").fill_null("")
        doubtful = np.flatnonzero(~self._sound(url).to_numpy())
        examined = self._examine(url.gather(doubtful))
        masks = {}
        for reason in self.reasons:
            rejected = np.zeros(len(url), dtype=bool)
            rejected[doubtful] = examined[reason].to_numpy()
            masks[reason] = pa.array(rejected)
        return masks

    def _sound(self, url: pl.Series) -> pl.Series:
        """True where one quick look is enough: nearly all rows, so `_examine` may be thorough."""
        if not {"http", "https"} <= set(self.schemes):
            return pl.Series(np.zeros(len(url), dtype=bool))
        short = url.str.len_bytes() <= self.max_length
        return (
            short
            & url.str.contains(SOUND)
            & ~url.str.contains(r"^https?://[^/]*\.(?:local|internal|intranet|lan|arpa|local[a-z]+)/")
        )

    def _examine(self, url: pl.Series) -> pl.DataFrame:
        """A boolean column per reason, for the few urls that are not plainly sound."""
        parts = parts_of(url)
        scheme, authority = parts["scheme"].str.to_lowercase(), parts["authority"].fill_null("")
        host_port = authority.str.extract_groups(r"^(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>[0-9]*))?$").struct.unnest()
        host = pl.Series(
            pl.from_arrow(pc.utf8_normalize(host_port["host"].fill_null("").to_arrow(), "NFKC")), dtype=pl.String
        )
        host = host.str.to_lowercase().str.replace_all("。", ".", literal=True).str.strip_suffix(".")
        port = host_port["port"].cast(pl.Int64, strict=False)
        kinds = host.replace_strict({name: kind_of_host(name) for name in host.unique()}, return_dtype=pl.String)
        missing = url.str.strip_chars() == ""
        other_scheme = ~missing & scheme.is_not_null() & ~scheme.is_in([name.lower() for name in self.schemes])
        bad_port = (host_port["port"].fill_null("") != "") & ~port.is_between(1, 65535).fill_null(False)
        malformed = (
            scheme.is_null() | url.str.contains(r"[\s\x00-\x1f\x7f-\x9f]") | authority.str.contains(r"[@\\]")
            | (kinds == "malformed") | bad_port | (url.str.len_chars() > self.max_length)
        )  # fmt: skip
        malformed = malformed & ~missing & ~other_scheme
        private = (kinds == "private") & ~malformed & ~missing & ~other_scheme & ~self._allowed(scheme, host, port)
        columns = {
            "url_missing": missing,
            "url_malformed": malformed,
            "url_scheme": other_scheme,
            "url_private": private,
        }
        return pl.DataFrame(columns).fill_null(False)

    def _allowed(self, scheme: pl.Series, host: pl.Series, port: pl.Series) -> pl.Series:
        default = scheme.replace_strict({"http": 80, "https": 443}, default=0, return_dtype=pl.Int64)
        full = pl.select(pl.concat_str(host, pl.lit(":"), port.fill_null(default).cast(pl.String))).to_series()
        allowed = [name.lower() for name in self.allow_hosts]
        return host.is_in(allowed) | full.is_in(allowed)


def parts_of(url: pl.Series) -> pl.DataFrame:
    """Columns scheme and authority (null where absent) and path (without query and fragment) of each url."""
    return url.str.extract_groups(PARTS).struct.unnest()


@lru_cache(maxsize=100_000)
def kind_of_host(host: str) -> str:
    """`public`, `private` or `malformed`, by the text of a lower-case host without port."""
    if host.startswith("["):
        return _kind_of_address(host.removeprefix("[").removesuffix("]"), ipaddress.IPv6Address)
    name = pl.Series([host])
    if not name.str.contains(HOST)[0] or ".." in host or host.startswith((".", "-")):
        return "malformed"
    last = host.rsplit(".", 1)[-1]
    if last.isascii() and (last.isdigit() or last.startswith("0x")):  # ends in a number: an IPv4 address (WHATWG URL)
        return _kind_of_address(_inet_aton(host), ipaddress.IPv4Address)
    return "private" if "." not in host or name.str.contains(LOCAL_NAME)[0] else "public"


def _kind_of_address(text: str | int | None, family: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]) -> str:
    try:
        address = family(text if text is not None else "")
    except ValueError:
        return "malformed"
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in ipaddress.ip_network("64:ff9b::/96"):  # NAT64, RFC 6052
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _kind_of_address(str(inner), ipaddress.IPv4Address)
    return "public" if address.is_global and not address.is_multicast else "private"


def _inet_aton(host: str) -> int | None:
    """The address of `host` in the notations of inet_aton: 1 to 4 parts, decimal, octal (0…) or hexadecimal (0x…)."""
    parts = host.split(".")
    try:
        numbers = [int(part, 16) if part.startswith("0x") else int(part, 8 if part[0] == "0" else 10) for part in parts]
    except (ValueError, IndexError):
        return None
    if len(numbers) > 4 or any(number > 255 for number in numbers[:-1]) or numbers[-1] >= 256 ** (5 - len(numbers)):
        return None
    return sum(number << (24 - 8 * i) for i, number in enumerate(numbers[:-1])) + numbers[-1]


def canonical_url(urls: pl.Series) -> pl.Series:
    """Urls as `host[:port]/path`, equal for urls that differ only in the following; null stays null.

    A fragment `#xywh=x,y,width,height` stays: it names a part of the image, which is another picture. Without regard to:
    scheme, case of the host, the scheme's default port, a leading `www.`, query, fragment, and the slash of an empty
    path. Paths are compared as they stand. A string that has no authority is returned as it is, without query.
    """
    urls = urls.cast(pl.String)
    part = urls.str.extract(r"(#xywh=[^#]*)$") if urls.str.contains("#xywh=", literal=True).any() else None
    canonical = _without_part(urls)
    return canonical if part is None else canonical + part.fill_null("")


def _without_part(urls: pl.Series) -> pl.Series:
    """Canonical urls without their fragment."""
    plain = urls.str.contains(PLAIN).fill_null(True)
    if plain.all():
        return _canonical_plain(urls)
    is_plain = plain.to_numpy()
    easy, hard = np.flatnonzero(is_plain), np.flatnonzero(~is_plain)
    canonical = pl.concat([_canonical_plain(urls.gather(easy)), _canonical_any(urls.gather(hard))])
    position = np.empty(len(urls), dtype=np.int64)
    position[np.concatenate([easy, hard])] = np.arange(len(urls))
    return canonical.gather(position)


def _canonical_plain(urls: pl.Series) -> pl.Series:
    bare = urls.str.strip_prefix("http://").str.strip_prefix("https://").str.strip_prefix("www.")
    return bare.str.replace(r"(?s)[?#].*", "")


def _canonical_any(urls: pl.Series) -> pl.Series:
    parts = parts_of(urls)
    host = parts["authority"].str.to_lowercase()
    scheme = parts["scheme"].str.to_lowercase()
    default = pl.select(pl.when(scheme == "https").then(pl.lit(r":443")).otherwise(pl.lit(":80"))).to_series()
    frame = pl.DataFrame({"host": host, "default": default, "path": parts["path"]})
    bare = pl.col("host").str.strip_suffix(pl.col("default")).str.strip_suffix(":").str.strip_prefix("www.")
    slash = pl.when(pl.col("path") == "").then(pl.lit("/")).otherwise(pl.col("path"))
    address = pl.when(pl.col("host").is_null()).then(pl.col("path")).otherwise(pl.concat_str(bare, slash))
    return frame.select(address).to_series()
