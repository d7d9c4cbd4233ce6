"""The list of runs, and the page of one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse, Response

from pipeline.inspect.status import ROWS_WENT
from pipeline.run.funnel import by_stage
from pipeline.serve.guard import HEADERS
from pipeline.serve.render import page
from pipeline.serve.runs import NoSuchRun, inside
from pipeline.serve.service import Service, service

router = APIRouter()
State = Annotated[Service, Depends(service)]
REPORT = "report.html"
SANDBOXED = "sandbox allow-popups; default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:"
"""Of a report: it holds captions and pictures of others, and needs no script."""
PLACES = {
    "rejected_by_rules": "rules",
    "failed_download": "download",
    "failed_score": "score",
    "rejected_by_score": "select",
    "published": "published",
}
"""Outcome of a row → where the browser of pairs shows such pairs."""


@router.get("/")
def runs(state: State) -> Response:
    """All runs and how far each is."""
    found = [(one, one.watch.progress() if one.watch else None) for one in state.shelf.runs()]
    at_work = any(progress and not progress.complete for _, progress in found)
    return page(
        "runs.html", runs=found, at_work=at_work, root=str(state.shelf.root), protected=bool(state.access.token)
    )


@router.get("/runs/{run}")
def run(run: str, state: State) -> Response:
    """One run: counts, steps, reasons, and where to go from here."""
    watch = state.shelf.get(run)
    return page(
        "run.html",
        run=run,
        folder=str(watch.run.folder),
        recipe_name=watch.run.recipe.name,
        recipe=(watch.run.folder / "recipe.yaml").read_text(encoding="utf-8"),
        progress=watch.progress(),
        funnel=watch.funnel(),
        has_report=_has_report(state, run),
        went=ROWS_WENT,
        places=PLACES,
    )


@router.get("/runs/{run}/reasons")
def reasons(run: str, state: State) -> Response:
    """The table of reasons, which the run's page loads when it is there: counting takes seconds on a large run."""
    watch = state.shelf.get(run)
    stages = by_stage(watch.reasons(wait=True) or [])
    return page("reasons.html", run=run, stages=stages, sources=list(watch.run.recipe.sources))


@router.get("/runs/{run}/report")
def report(run: str, state: State) -> Response:
    """The report that `zhclip report` wrote."""
    try:
        path = inside(state.shelf.get(run).run.folder, REPORT)
    except FileNotFoundError:
        raise NoSuchRun(f"{run} has no report") from None
    return FileResponse(path, media_type="text/html", headers={**HEADERS, "content-security-policy": SANDBOXED})


def _has_report(state: Service, run: str) -> bool:
    try:
        return bool(inside(state.shelf.get(run).run.folder, REPORT))
    except FileNotFoundError:
        return False
