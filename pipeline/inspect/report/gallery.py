"""Galleries: pairs that were kept, that lie close to the threshold on either side, and that were dropped for each reason."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import duckdb
from PIL import Image

from pipeline.inspect.catalog.images import ImagePlace, image_places, read_image
from pipeline.inspect.report.figures import Figures
from pipeline.inspect.report.query import KeyRange, Row, rows
from pipeline.run.folder import Run

SIDE = 144  # pixels: shown at 96 to 110, on screens with more dots than pixels
QUALITY = 58
MARGIN = 0.02  # of a threshold: what counts as close to it
CANDIDATES = 60  # looked at for each gallery, so that those with an image can be preferred
REASONS_SHOWN = 16


@dataclass(frozen=True)
class Card:
    """A pair as the gallery shows it."""

    key: str
    caption: str
    source: str
    score: float | None
    reasons: list[str]
    detail: str | None
    picture: str | None  # a data: address


@dataclass(frozen=True)
class Gallery:
    """A heading, how many pairs there are of that kind, and some of them."""

    title: str
    note: str
    pairs: int
    cards: list[Card]


def galleries(
    run: Run, connection: duckdb.DuckDBPyConnection, figures: Figures, seed: int, shown: int
) -> list[Gallery]:
    """All galleries; which pairs are shown follows from `seed`."""
    kinds = [
        ("Kept", "published pairs", figures.published, "select *, [] as reasons, null as detail from pairs"),
        *_borderline(figures),
        *(
            (
                f"Dropped: {reason}",
                f"in the {stage} stage",
                pairs,
                f"select * from rejected where list_contains(reasons, '{reason}')",
            )
            for reason, (stage, pairs, _) in list(figures.reason_totals.items())[:REASONS_SHOWN]
        ),
    ]
    made = [_gallery(run, connection, kind, seed, shown) for kind in kinds]
    return [gallery for gallery in made if gallery.cards]


def _borderline(figures: Figures) -> list[tuple[str, str, int, str]]:
    if not any(row["min_score"] is not None for row in figures["scores"]):
        return []
    near = "select key, source, score, min_score from decisions where min_score is not null"
    above = f"{near} and score >= min_score and score < min_score + {MARGIN}"
    below = f"{near} and score < min_score and score >= min_score - {MARGIN}"
    shape = (
        "select *, [] as reasons, null as detail, caption from ({}) join (select key, caption from plan) using (key)"
    )
    return [
        ("Just above the threshold", f"within {MARGIN} of it", -1, shape.format(above)),
        ("Just below the threshold", f"within {MARGIN} of it", -1, shape.format(below)),
    ]


def _gallery(
    run: Run, connection: duckdb.DuckDBPyConnection, kind: tuple[str, str, int, str], seed: int, shown: int
) -> Gallery:
    title, note, pairs, query = kind
    among = pairs
    if among < 0:
        among = rows(connection, f"select count(*) as pairs from ({query})")[0]["pairs"]
    part = KeyRange.holding(20 * CANDIDATES, among, seed)
    candidates = rows(
        connection,
        f"select key, caption, source, score, reasons, detail from ({query}) where key is not null and {part.sql} "
        f"order by md5(key || $seed), detail limit {CANDIDATES}",
        seed=str(seed),
    )
    places = image_places(connection, [row["key"] for row in candidates])
    tars = {location.tar for location in places.values() if run.holds(location.tar)}
    there = {key: location for key, location in places.items() if location.tar in tars}
    chosen = sorted(candidates, key=lambda row: row["key"] not in there)[:shown]
    return Gallery(title, note, among, [_card(run, row, there.get(row["key"])) for row in chosen])


def _card(run: Run, row: Row, location: ImagePlace | None) -> Card:
    picture = None if location is None else thumbnail(read_image(run.address, location))
    return Card(row["key"], row["caption"] or "", row["source"], row["score"], row["reasons"], row["detail"], picture)


def thumbnail(jpeg: bytes) -> str | None:
    """A small WebP as a data: address; None where the image does not decode."""
    try:
        with Image.open(io.BytesIO(jpeg)) as image:
            image.draft("RGB", (SIDE * 2, SIDE * 2))
            small = image.convert("RGB")
            small.thumbnail((SIDE, SIDE))
    except OSError:
        return None
    written = io.BytesIO()
    small.save(written, "webp", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(written.getvalue()).decode()
