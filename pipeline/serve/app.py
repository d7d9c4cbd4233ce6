"""The web application: its routes, middleware and error pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from pipeline.run.manifest import RunError
from pipeline.serve import pair_routes, run_routes, sql_routes
from pipeline.serve.access import COOKIE, Access, AccessMiddleware
from pipeline.serve.metrics import TimingMiddleware
from pipeline.serve.pair import NoSuchPair
from pipeline.serve.render import page
from pipeline.serve.runs import NoSuchRun, RunIndex
from pipeline.serve.search import BadSearch
from pipeline.serve.service import Service, form, service

STATIC = Path(__file__).with_name("static")
TITLES = {
    400: "That cannot be asked",
    404: "Not here",
    405: "Not in this way",
    413: "Too much",
    422: "That cannot be asked",
}


def create_app(root: Path, access: Access) -> FastAPI:
    """Create the application for a folder of runs, or for one run."""
    state = Service(RunIndex(root), access)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG001
        yield
        state.close()

    app = FastAPI(title="zhclip", openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.service = state
    app.add_middleware(TimingMiddleware, metrics=state.metrics)
    app.add_middleware(AccessMiddleware, access=access)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for routes in (run_routes.router, pair_routes.router, sql_routes.router):
        app.include_router(routes)
    _add_own_routes(app)
    _add_errors(app)
    return app


def _add_own_routes(app: FastAPI) -> None:
    @app.get("/healthz")
    def health() -> Response:
        return PlainTextResponse("ok\n")

    @app.get("/metrics")
    def metrics(state: Annotated[Service, Depends(service)]) -> Response:
        return Response(generate_latest(state.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/login")
    def login() -> Response:
        return page("login.html", wrong=False)

    @app.post("/login")
    def log_in(
        request: Request, given: Annotated[dict[str, str], Depends(form)], state: Annotated[Service, Depends(service)]
    ) -> Response:
        if not state.access.knows(given.get("token", "")):
            return page("login.html", 403, wrong=True)
        answer = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, state.access.session, httponly=True, samesite="strict", secure=secure)
        return answer

    @app.post("/logout")
    def log_out() -> Response:
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer


def _add_errors(app: FastAPI) -> None:
    def error_page(status: int, message: str) -> Response:
        return page("error.html", status, title=TITLES.get(status, "That did not work"), message=message)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:  # noqa: ARG001
        message = "There is no such page." if error.status_code == 404 else str(error.detail)
        return error_page(error.status_code, message)

    @app.exception_handler(NoSuchRun)
    async def no_such_run(request: Request, error: NoSuchRun) -> Response:  # noqa: ARG001
        return error_page(404, "There is no such run here.")

    @app.exception_handler(NoSuchPair)
    async def no_such_pair(request: Request, error: NoSuchPair) -> Response:  # noqa: ARG001
        return error_page(404, "This run has no pair of that key.")

    @app.exception_handler(BadSearch)
    async def bad_search(request: Request, error: BadSearch) -> Response:  # noqa: ARG001
        return error_page(400, str(error))

    @app.exception_handler(RunError)
    async def run_error(request: Request, error: RunError) -> Response:  # noqa: ARG001
        return error_page(503, str(error))

    @app.exception_handler(Exception)
    async def any_error(request: Request, error: Exception) -> Response:  # noqa: ARG001
        return error_page(500, "Something went wrong here; what, is said where the service was started.")
