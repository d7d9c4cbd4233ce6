"""Routes of the run list and of a run's page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse, Response

from pipeline.inspect.funnel import by_stage
from pipeline.run.names import RECIPE_FILE, REPORT
from pipeline.run.outcomes import undecided
from pipeline.serve.access import HEADERS
from pipeline.serve.live_run import Progress
from pipeline.serve.render import page
from pipeline.serve.runs import NoSuchRun, inside
from pipeline.serve.search import WHERE
from pipeline.serve.service import Service, service
from pipeline.stages.registry import OUTCOMES

router = APIRouter()
State = Annotated[Service, Depends(service)]
SANDBOXED = "sandbox allow-popups; default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:"
"""The content security policy of a report: it shows captions and images from the web, and needs no script."""


@dataclass(frozen=True)
class OutcomeRow:
    """One line of the table of outcomes."""

    key: str
    label: str
    counts: list[int]  # of each source, in the order of the recipe


def outcome_rows(progress: Progress) -> list[OutcomeRow]:
    """Rows read, each outcome in the order of the flow, and what is still to do (or, in a complete run, missing)."""
    funnels = progress.funnels
    decided = [
        OutcomeRow(key, outcome.label, [funnel.outcomes[key] for funnel in funnels])
        for key, (_, outcome) in OUTCOMES.items()
    ]
    waiting = undecided(progress.complete)
    rest = OutcomeRow(waiting.key, waiting.label, [funnel.waiting for funnel in funnels])
    return [OutcomeRow("read", "read", [funnel.read for funnel in funnels]), *decided, rest]


@router.get("/")
def runs(state: State) -> Response:
    """All runs and how far each is."""
    entries = [(entry, entry.live_run.progress() if entry.live_run else None) for entry in state.runs.runs()]
    at_work = any(progress and not progress.complete for _, progress in entries)
    return page(
        "runs.html", runs=entries, at_work=at_work, root=str(state.runs.root), protected=bool(state.access.token)
    )


@router.get("/runs/{run}")
def run(run: str, state: State) -> Response:
    """One run: counts, stages, reasons, and where to go from here."""
    live_run = state.runs.get(run)
    return page(
        "run.html",
        run=run,
        folder=str(live_run.run.folder),
        recipe_name=live_run.run.recipe.name,
        recipe=(live_run.run.folder / RECIPE_FILE).read_text(encoding="utf-8"),
        progress=live_run.progress(),
        funnel=live_run.funnel(),
        has_report=_has_report(state, run),
        rows=outcome_rows(live_run.progress()),
        shown=WHERE,
    )


@router.get("/runs/{run}/reasons")
def reasons(run: str, state: State) -> Response:
    """The table of reasons, which the run's page loads when it is there: counting takes seconds on a large run."""
    live_run = state.runs.get(run)
    stages = by_stage(live_run.reasons(wait=True) or [])
    return page("reasons.html", run=run, stages=stages, sources=list(live_run.run.recipe.sources))


@router.get("/runs/{run}/report")
def report(run: str, state: State) -> Response:
    """The report that `zhclip report` wrote."""
    try:
        path = inside(state.runs.get(run).run.folder, REPORT)
    except FileNotFoundError:
        raise NoSuchRun(f"{run} has no report") from None
    return FileResponse(path, media_type="text/html", headers={**HEADERS, "content-security-policy": SANDBOXED})


def _has_report(state: Service, run: str) -> bool:
    try:
        return bool(inside(state.runs.get(run).run.folder, REPORT))
    except FileNotFoundError:
        return False
