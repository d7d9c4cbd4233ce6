"""The browser of pairs, one pair's page, and images."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from pipeline.serve.cards import cards
from pipeline.serve.listing import Found, Place, count, find, read_place, rows_to_search
from pipeline.serve.pair import Pair, read_pair
from pipeline.serve.pictures import has_picture, picture
from pipeline.serve.render import page, path
from pipeline.serve.search import KEY, WHERE, Search, read_search
from pipeline.serve.service import Service, service
from pipeline.serve.story import met_again, state_of, story
from pipeline.serve.watched import Watch

router = APIRouter()
State = Annotated[Service, Depends(service)]
IMAGE_HEADERS = {
    "cache-control": "private, max-age=3600, immutable",
    "content-security-policy": "default-src 'none'; sandbox",
    "content-disposition": "inline",
}


@router.get("/runs/{run}/pairs")
def pairs(run: str, request: Request, state: State) -> Response:
    """A page of thumbnails: what the search finds after, or before, a place."""
    watch, given = state.shelf.get(run), request.query_params
    search = read_search(given)
    if KEY.fullmatch(search.q):
        return RedirectResponse(path("runs", run, "pairs", search.q), 303)
    after, before = read_place(given.get("after", "")), read_place(given.get("before", ""))
    connection = state.cursor()
    found = find(connection, watch, search, before or after, backward=before is not None)
    if before and len(found.places) == 0 and not found.stopped:  # there is nothing before: the first page
        after, before, found = None, None, find(connection, watch, search)
    shown = cards(connection, watch, found.places)
    return page(
        "pairs.html",
        run=run,
        search=search,
        where=_wheres(watch, search),
        sources=list(watch.run.recipe.sources),
        reasons=_reasons(watch),
        cards=[
            (card, card.has_image and has_picture(watch, card.place.key, card.state == "published")) for card in shown
        ],
        found=found,
        rows=rows_to_search(watch, search),
        **_neighbours(found, after, before),
    )


@router.get("/runs/{run}/pairs/count")
def pairs_count(run: str, request: Request, state: State) -> Response:
    """How many pairs a search finds, as far as that can be counted in a few seconds."""
    watch, search = state.shelf.get(run), read_search(request.query_params)
    number, exact = count(state.cursor(), watch, search)
    return Response(f"{number:,} pairs" if exact else f"more than {number:,} pairs", media_type="text/plain")


@router.get("/runs/{run}/pairs/{key}")
def pair(run: str, key: str, request: Request, state: State) -> Response:
    """Everything known about one pair."""
    watch = state.shelf.get(run)
    _check(key)
    found = read_pair(state.cursor(), watch, key, request.query_params.get("in", ""))
    members = [(member, has_picture(watch, member["key"])) for member in found.members]
    return page(
        "pair.html",
        run=run,
        pair=found,
        state=state_of(found),
        chapters=story(found),
        again=met_again(found),
        has_image=_stored(found) and has_picture(watch, key, bool(found.published)),
        members=members,
    )


@router.get("/runs/{run}/images/{key}.jpg")
def image(run: str, key: str, state: State) -> Response:
    """The stored JPEG of a pair."""
    watch = state.shelf.get(run)
    _check(key)
    try:
        content = picture(state.cursor(), watch, key)
    except FileNotFoundError:
        raise HTTPException(404) from None
    return Response(content, media_type="image/jpeg", headers=IMAGE_HEADERS)


def _check(key: str) -> None:
    if not KEY.fullmatch(key):
        raise HTTPException(404)


def _stored(pair: Pair) -> bool:
    """Whether its image was stored at some time."""
    return bool(pair.published or (pair.download and pair.download["length"]))


def _neighbours(found: Found, after: Place | None, before: Place | None) -> dict[str, Any]:
    """Where the next page and the one before begin, as they stand in addresses; None where there is none."""
    first = found.places[0] if found.places else None
    last = found.places[-1] if found.places else None
    onward: Place | None
    if before:
        onward, back = last or before, first if found.more else found.stopped
    else:
        onward, back = last if found.more else found.stopped, (first or after) if after else None
    return {"after": str(onward) if onward else None, "before": str(back) if back else None}


def _wheres(watch: Watch, search: Search) -> dict[str, str]:
    """The places to choose from: pairs are on the way only while a run is at work."""
    waiting = search.where == "waiting" or not watch.progress().complete
    return {name: text for name, text in WHERE.items() if name != "waiting" or waiting}


def _reasons(watch: Watch) -> dict[str, dict[str, int]] | None:
    """Stage → reason → pairs; None while they are being counted."""
    counted = watch.reasons(wait=False)
    if counted is None:
        return None
    found: dict[str, dict[str, int]] = {}
    for row in counted:
        if row["stage"] != "read":  # rows there are no pairs
            by_reason = found.setdefault(row["stage"], {})
            by_reason[row["reason"]] = by_reason.get(row["reason"], 0) + row["pairs"]
    return found
