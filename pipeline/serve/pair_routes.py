"""Routes of the pair list, of a pair's page, and of images."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from foundation.text import counted
from pipeline.inspect.funnel import FIRST
from pipeline.run.outcomes import WAITING
from pipeline.serve.history import history, met_again, outcome_of_pair
from pipeline.serve.images import has_picture, picture
from pipeline.serve.listing import Position, SearchResults, count, find, read_position, rows_to_search
from pipeline.serve.live_run import LiveRun
from pipeline.serve.pair import Pair, read_pair
from pipeline.serve.render import page, path
from pipeline.serve.search import KEY, WHERE, Search, read_search
from pipeline.serve.service import Service, service
from pipeline.serve.thumbnails import Thumbnail, thumbnails
from pipeline.stages.registry import PUBLISHED, STAGES, enabled

router = APIRouter()
State = Annotated[Service, Depends(service)]
IMAGE_HEADERS = {
    "cache-control": "private, max-age=3600, immutable",
    "content-security-policy": "default-src 'none'; sandbox",
    "content-disposition": "inline",
}


@router.get("/runs/{run}/pairs")
def pairs(run: str, request: Request, state: State) -> Response:
    """A page of thumbnails: the pairs of a search after, or before, a position."""
    live_run, given = state.runs.get(run), request.query_params
    search = read_search(given)
    if KEY.fullmatch(search.q):
        return RedirectResponse(path("runs", run, "pairs", search.q), 303)
    after, before = read_position(given.get("after", "")), read_position(given.get("before", ""))
    connection = state.cursor()
    results = find(connection, live_run, search, before or after, backward=before is not None)
    if before and len(results.positions) == 0 and not results.stopped:  # nothing lies before: show the first page
        after, before, results = None, None, find(connection, live_run, search)
    shown = thumbnails(connection, live_run, results.positions)
    return page(
        "pairs.html",
        run=run,
        search=search,
        where=_outcome_choices(live_run, search),
        sources=list(live_run.run.recipe.sources),
        reasons=_reasons(live_run),
        thumbnails=[(thumbnail, _has_image(live_run, thumbnail)) for thumbnail in shown],
        results=results,
        rows=rows_to_search(live_run, search),
        **_neighbours(results, after, before),
    )


@router.get("/runs/{run}/pairs/count")
def pairs_count(run: str, request: Request, state: State) -> Response:
    """The number of pairs of a search, as far as it can be counted in a few seconds."""
    live_run, search = state.runs.get(run), read_search(request.query_params)
    number, exact = count(state.cursor(), live_run, search)
    return Response(
        counted(number, "pair") if exact else f"more than {counted(number, 'pair')}", media_type="text/plain"
    )


@router.get("/runs/{run}/pairs/{key}")
def pair(run: str, key: str, request: Request, state: State) -> Response:
    """Everything known about one pair."""
    live_run = state.runs.get(run)
    _check(key)
    pair_rows = read_pair(state.cursor(), live_run, key, request.query_params.get("in", ""))
    members = [(member, has_picture(live_run, member["key"])) for member in pair_rows.members]
    return page(
        "pair.html",
        run=run,
        pair=pair_rows,
        outcome=outcome_of_pair(pair_rows),
        events=history(pair_rows, enabled(live_run.run.recipe)),
        titles={name: stage.label.capitalize() for name, stage in STAGES.items()},
        again=met_again(pair_rows),
        has_image=_stored(pair_rows) and has_picture(live_run, key, bool(pair_rows.published)),
        members=members,
    )


@router.get("/runs/{run}/images/{key}.jpg")
def image(run: str, key: str, state: State) -> Response:
    """The stored JPEG of a pair."""
    live_run = state.runs.get(run)
    _check(key)
    try:
        content = picture(state.cursor(), live_run, key)
    except FileNotFoundError:
        raise HTTPException(404) from None
    return Response(content, media_type="image/jpeg", headers=IMAGE_HEADERS)


def _check(key: str) -> None:
    if not KEY.fullmatch(key):
        raise HTTPException(404)


def _has_image(live_run: LiveRun, thumbnail: Thumbnail) -> bool:
    """Whether its image was stored, and is there."""
    published = thumbnail.outcome == PUBLISHED
    return thumbnail.has_image and has_picture(live_run, thumbnail.position.key, published)


def _stored(pair: Pair) -> bool:
    """Whether its image was stored at some time."""
    return bool(pair.published or ("download" in pair.rows and pair.rows["download"]["length"]))


def _neighbours(results: SearchResults, after: Position | None, before: Position | None) -> dict[str, Any]:
    """Where the next page and the one before begin, as they stand in addresses; None where there is none."""
    first = results.positions[0] if results.positions else None
    last = results.positions[-1] if results.positions else None
    onward: Position | None
    if before:
        onward, back = last or before, first if results.more else results.stopped
    else:
        onward, back = last if results.more else results.stopped, (first or after) if after else None
    return {"after": str(onward) if onward else None, "before": str(back) if back else None}


def _outcome_choices(live_run: LiveRun, search: Search) -> dict[str, str]:
    """The outcomes to choose from: pairs wait only while a run is at work."""
    waiting = search.waiting or not live_run.progress().complete
    return {name: text for name, text in WHERE.items() if name != WAITING.key or waiting}


def _reasons(live_run: LiveRun) -> dict[str, dict[str, int]] | None:
    """Stage → reason → pairs; None while they are being counted."""
    counted = live_run.reasons(wait=False)
    if counted is None:
        return None
    by_stage: dict[str, dict[str, int]] = {}
    for row in counted:
        if row["stage"] != FIRST:  # rows there are no pairs
            by_reason = by_stage.setdefault(row["stage"], {})
            by_reason[row["reason"]] = by_reason.get(row["reason"], 0) + row["pairs"]
    return by_stage
