"""The url rule of a source with images of its own, in the place of `rules.url`.

It stands beside the other rules because it sees nothing but the url; that it applies, the source says. How such urls are
made is `pipeline.sources.local_images`; the downloader refuses the same ones again when it opens a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from filters.base import Filter
from filters.url import UrlSanity

LOCAL = r"^local:[^/?#]+/[^?#]+(#xywh=-?\d+,-?\d+,\d+,\d+)?$"
CLIMBS = r"/\.{0,2}(/|#|$)|%5C|%00"
"""An empty part, `.` or `..` (never escaped by `local_url`), a backslash or NUL: the downloader refuses the same."""


class LocalUrl(Filter):
    """Rejects rows without an image, and those whose file name in the metadata leads out of the source's folders."""

    reasons: ClassVar[Mapping[str, str]] = {code: UrlSanity.reasons[code] for code in ("url_missing", "url_malformed")}
    columns: ClassVar[tuple[str, ...]] = ("url",)

    def rejects(self, pairs: pa.Table) -> dict[str, pa.BooleanArray]:
        """Masks for `url_missing` (null) and `url_malformed`."""
        url = pairs["url"]
        sound = pc.and_(pc.match_substring_regex(url, LOCAL), pc.invert(pc.match_substring_regex(url, CLIMBS)))
        return {"url_missing": pc.is_null(url), "url_malformed": pc.invert(pc.fill_null(sound, True))}
