"""The rows of a world, kind by kind, with the routes that their links lead to."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator

from demo.drawings import Drawing, caption
from demo.faults import CAPTION_KINDS, OTHER_LANGUAGES, bad_caption
from demo.images import BACKGROUNDS, BROKEN_FORMS
from demo.metadata import Row
from demo.site import ImageOrder, Site, ending

SPECIAL = {
    "non-ascii url": 0.05,
    "transparent png": 0.05,
    "webp": 0.03,
    "flaky": 0.015,
    "redirect": 0.015,
    "rotated by exif": 0.02,
    "grey": 0.01,
    "palette png": 0.01,
    "cmyk": 0.005,
    "gif": 0.005,
    "line break in caption": 0.005,
}
"""Shares of the clean pairs that are unusual and must be kept all the same; at least two of each."""

MAX_USES = 5  # of one caption
PRIVATE = (
    "http://192.168.1.{i}/photo.jpg",
    "http://10.0.0.{i}/photo.jpg",
    "http://172.16.3.{i}/photo.jpg",
    "http://169.254.169.254/latest/meta-data/{i}.jpg",
    "http://127.0.0.1:9/{i}.jpg",
    "http://[::1]/{i}.jpg",
    "http://100.64.0.{i}/photo.jpg",
)
BY_NAME = ("http://localhost/{i}.jpg", "http://LOCALHOST:9/{i}.jpg", "http://localhost./{i}.jpg")
MALFORMED = ("http://", "https:///{i}.jpg", "http://[::1/{i}.jpg", "http://host:port/{i}.jpg")
SCHEMES = ("ftp://ftp.example.com/{i}.jpg", "file:///photos/{i}.jpg", "s3://bucket/{i}.jpg", "gopher://example.com/{i}")


class Pairs:
    """Writes rows and adds their images to a site. Each drawing is used for one downloaded pair at most."""

    def __init__(self, drawings: list[Drawing], site: Site, rng: random.Random, counts: dict[str, int]) -> None:
        self._rng, self._site, self._counts = rng, site, counts
        self._drawings = [drawing for drawing in drawings if caption(drawing, random.Random(0))]
        rng.shuffle(self._drawings)
        self._next = iter(self._drawings)
        self._spare = itertools.cycle(reversed(self._drawings))  # for rows that nobody should download
        self._uses: Counter[str] = Counter()

    def all_rows(self) -> list[Row]:
        """Every row of the world, kind by kind."""
        clean = self._clean()
        makers = {
            "swapped caption": self._swapped,
            "other language": self._other_language,
            "url missing": self._url_missing,
            "url malformed": lambda kind: self._odd_url(kind, MALFORMED),
            "scheme": lambda kind: self._odd_url(kind, SCHEMES),
            "private address": lambda kind: self._odd_url(kind, PRIVATE),
            "private by name": lambda kind: self._odd_url(kind, BY_NAME),
            "unknown host": lambda kind: self._odd_url(kind, ("http://images{i}.demo.invalid/{i}.jpg",)),
            "removed link": self._good_on_spare,
            "punsafe": self._good_on_spare,
            "malformed line": self._good_on_spare,
            "corrupt row group": self._good_on_spare,
            "corrupt file": self._good_on_spare,
            "duplicate pair": lambda kind: self._repeated(kind, clean[::2], ""),
            "duplicate image url": lambda kind: self._repeated(kind, clean[1::2], "?from=list"),
            **{kind.name: self._bad_caption for kind in CAPTION_KINDS},
        }
        others = [name for name in self._counts if name != "clean"]
        return clean + [row for name in others for row in makers.get(name, self._trouble)(name)]

    def _clean(self) -> list[Row]:
        count = self._counts["clean"]
        variants = [name for name, share in SPECIAL.items() for _ in range(max(2, round(share * count)))]
        repeated = self._counts["duplicate pair"] + self._counts["duplicate image url"]
        variants += ["repeated later"] * (repeated + 2)
        variants += ["jpeg"] * (count - len(variants))
        rows = []
        for variant in variants[:count]:
            drawing = next(self._next)
            rows.append(self._row(drawing, "clean", self._good_url(drawing, variant), self._caption(drawing), variant))
            if variant == "line break in caption":
                rows[-1].caption = re.sub(r"[ 、,|·]+", "\n", rows[-1].caption or "", count=1)
        rows.sort(key=lambda row: row.variant != "repeated later")  # these first, for `_repeated`
        return rows

    def _good_url(self, drawing: Drawing, variant: str) -> str:
        order = self._order(drawing, variant)
        stem = f"/img/{drawing.style}/{drawing.hexcode}"
        if variant == "non-ascii url":
            name = re.sub(r"\W", "", drawing.name)
            return self._site.add(f"/图片/{name}-{drawing.style}-{drawing.hexcode}.jpg", order)
        if variant == "redirect":
            target = self._site.add(f"{stem}-moved.jpg", order)
            return self._site.add(f"{stem}.jpg", kind="redirect", to=target)
        return self._site.add(stem + ending(variant), order, kind="flaky" if variant == "flaky" else "file")

    def _order(self, drawing: Drawing, form: str) -> ImageOrder:
        return drawing.svg, form, self._rng.choice((224, 256, 288)), self._rng.choice(BACKGROUNDS)

    def _caption(self, drawing: Drawing) -> str:
        """A caption that few other rows have: far fewer than would count as frequent."""
        while True:
            text = caption(drawing, self._rng)
            if text and self._uses[text] < MAX_USES:
                self._uses[text] += 1
                return text

    def _row(self, drawing: Drawing, fault: str, url: str | None, text: str | None, variant: str = "") -> Row:
        return Row(
            url, text, fault, variant=variant, concept=drawing.concept, style=drawing.style, licence=drawing.licence
        )

    def _swapped(self, fault: str) -> Iterator[Row]:
        for _ in range(self._counts[fault]):
            drawing = next(self._next)
            candidates = iter(lambda: self._rng.choice(self._drawings), None)
            other = next(candidate for candidate in candidates if _unlike(drawing, candidate))
            yield self._row(drawing, fault, self._good_url(drawing, "jpeg"), self._caption(other), other.concept)

    def _trouble(self, fault: str) -> Iterator[Row]:
        """A good caption, and a route that fails."""
        for i in range(self._counts[fault]):
            drawing = next(self._spare)
            path = f"/{fault.replace(' ', '-')}/{i}.jpg"
            form = fault if fault in BROKEN_FORMS else "jpeg"
            details = self._route(fault, i, path)
            order = self._order(drawing, form) if details.get("kind", "file") == "file" else None
            yield self._row(drawing, fault, self._site.add(path, order, **details), self._caption(drawing))

    def _route(self, fault: str, i: int, path: str) -> dict:
        private = ("http://192.168.0.1/a.jpg", "http://169.254.169.254/latest/meta-data/", "http://127.0.0.1:9/a.jpg")
        targets = {
            "redirect to private": private[i % len(private)],
            "redirect to file": "file:///photos/a.jpg",
            "redirect loop": self._site.base_url + path,
        }
        if fault in targets:
            return {"kind": "redirect", "to": targets[fault]}
        if fault.isdecimal():
            return {"kind": "status", "status": int(fault)}
        if fault == "opt-out":
            return {"headers": {"X-Robots-Tag": ("noai", "noai, noimageai", "noindex")[i % 3]}}
        if fault == "too many bytes":
            return {"kind": "too_many_bytes", "announced": i % 2 == 0}
        return {"kind": fault} if fault in ("reset", "drip", "hang") else {}

    def _bad_caption(self, fault: str) -> Iterator[Row]:
        for i in range(self._counts[fault]):
            drawing = next(self._spare)
            text = bad_caption(fault, i, drawing.name, self._rng)
            yield self._row(drawing, fault, self._spare_url(drawing, fault, i), text)

    def _good_on_spare(self, fault: str) -> Iterator[Row]:
        for i in range(self._counts[fault]):
            drawing = next(self._spare)
            row = self._row(drawing, fault, self._spare_url(drawing, fault, i), self._caption(drawing))
            row.punsafe = self._rng.uniform(0.95, 0.999) if fault == "punsafe" else None
            yield row

    def _spare_url(self, drawing: Drawing, fault: str, i: int) -> str:
        """A link that works, so that only metadata can tell that the row is bad."""
        return self._site.add(f"/{fault.replace(' ', '-')}/{i}.jpg", self._order(drawing, "jpeg"))

    def _odd_url(self, fault: str, patterns: tuple[str, ...]) -> Iterator[Row]:
        for i in range(self._counts[fault]):
            drawing = next(self._spare)
            yield self._row(drawing, fault, patterns[i % len(patterns)].format(i=i + 1), self._caption(drawing))

    def _url_missing(self, fault: str) -> Iterator[Row]:
        for _ in range(self._counts[fault]):
            drawing = next(self._spare)
            yield self._row(drawing, fault, None, self._caption(drawing))

    def _other_language(self, fault: str) -> Iterator[Row]:
        for i in range(self._counts[fault]):
            drawing = next(self._spare)
            language = list(OTHER_LANGUAGES)[i % len(OTHER_LANGUAGES)]
            row = self._row(drawing, fault, f"{self._site.base_url}/other/{i}.jpg", OTHER_LANGUAGES[language])
            row.language = language
            yield row

    def _repeated(self, fault: str, originals: list[Row], query: str) -> Iterator[Row]:
        for original in originals[: self._counts[fault]]:
            row = Row(**{**original.__dict__, "fault": fault, "variant": "", "url": f"{original.url}{query}"})
            yield row


def _unlike(drawing: Drawing, other: Drawing) -> bool:
    """Whether nothing in the caption of `other` could pass for `one`: another group, and no Han character in common."""
    return drawing.group != other.group and not set(_han(drawing)) & set(_han(other))


def _han(drawing: Drawing) -> list[str]:
    return re.findall(r"[一-鿿]", drawing.name + "".join(drawing.tags))
