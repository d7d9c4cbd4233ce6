"""The SQL page of a run."""

from __future__ import annotations

import csv
import io
import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from pipeline.inspect.catalog.views import COMMENTS
from pipeline.serve.live_run import LiveRun
from pipeline.serve.render import page
from pipeline.serve.service import Service, form, service, sql_setup
from pipeline.serve.sql_child import Question

router = APIRouter()
State = Annotated[Service, Depends(service)]
SECONDS = 20.0
ROWS, CELL, CHARACTERS = 1_000, 600, 4 << 20  # of a table on the page; characters of a cell, and of all together
CSV_ROWS, CSV_CELL, CSV_CHARACTERS = 100_000, 1_000_000, 64 << 20
STATUS = {"refused": 403, "invalid": 400, "time": 504, "memory": 507, "died": 507, "busy": 503}
NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "FLOAT",
           "DOUBLE", "DECIMAL")  # fmt: skip
COLUMNS = "select table_name, column_name, data_type from duckdb_columns() where not internal order by column_index"
EXAMPLES = {
    "Where did the rows of each source go?": "select source, stage, rows_in, rejected, failed, rows_out\nfrom funnel",
    "Why were pairs dropped?": "select source, stage, reason, count(*) as pairs, count(*) filter (only_reason) as only_reason\n"
    "from reasons\ngroup by all order by pairs desc",
    "Which sites fail most?": "select domain(url) as site, count(*) as failed, mode(reason) as most_often\n"
    "from reasons where stage = 'download'\ngroup by all order by failed desc limit 50",
    "Pairs just above their threshold": "select score, min_score, source, caption\n"
    "from decisions join plan using (key, source)\nwhere keep and score < min_score + 0.005 order by score limit 100",
    "The largest clusters of copies": "select cluster, count(*) as images, list(distinct source) as sources\n"
    "from clusters group by all order by images desc limit 50",
    "How long did each stage take?": "select stage, count(*) as shards, sum(rows_in) as rows, sum(seconds)::int as seconds\n"
    "from shards group by all",
}


@router.get("/runs/{run}/sql")
def sql(run: str, request: Request, state: State) -> Response:
    """The form. A query in the address is shown, and not run: following a link must cost nothing."""
    live_run = state.runs.get(run)
    return _page(state, live_run, run, request.query_params.get("query", ""), None)


@router.post("/runs/{run}/sql")
def ask(run: str, given: Annotated[dict[str, str], Depends(form)], state: State) -> Response:
    """The form with an answer below it, or the answer as CSV."""
    live_run, query = state.runs.get(run), given.get("query", "").strip()
    as_csv = given.get("as") == "csv"
    limits = (CSV_ROWS, CSV_CHARACTERS, CSV_CELL) if as_csv else (ROWS, CHARACTERS, CELL)
    answer = state.pool.ask(sql_setup(live_run), Question(query, *limits, SECONDS))
    state.metrics.queries.labels(answer.get("kind", "answered")).inc()
    if as_csv and "error" not in answer:
        return _csv(run, answer)
    return _page(state, live_run, run, query, answer)


def _page(state: Service, live_run: LiveRun, run: str, query: str, answer: dict[str, Any] | None) -> Response:
    status = STATUS[answer["kind"]] if answer and "error" in answer else 200
    return page(
        "sql.html",
        status,
        run=run,
        query=query,
        answer=answer,
        numbers={kind for _, kind in (answer or {}).get("columns", ()) if kind.startswith(NUMBERS)},
        views=_views(state, live_run),
        examples=EXAMPLES,
        limits={"seconds": SECONDS, "rows": ROWS, "csv_rows": CSV_ROWS, "cell": CELL},
    )


def _views(state: Service, live_run: LiveRun) -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """View → its comment, and its columns with their types."""

    def ask() -> dict[str, list[tuple[str, str]]]:
        answer = state.pool.ask(sql_setup(live_run), Question(COLUMNS, 10_000, CHARACTERS, CELL, SECONDS))
        columns: dict[str, list[tuple[str, str]]] = {}
        for view, column, kind in answer.get("rows", ()):
            columns.setdefault(view, []).append((column, kind.lower()))
        return columns

    columns = live_run.once("columns", ask)
    if not columns:
        live_run.memory.pop("columns", None)  # it could not be asked: next time, perhaps
    return {name: (comment, columns.get(name, [])) for name, comment in COMMENTS.items()}


def _csv(run: str, answer: dict[str, Any]) -> Response:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([name for name, _ in answer["columns"]])
    writer.writerows([["" if cell is None else _harmless(cell) for cell in row] for row in answer["rows"]])
    cut = f"-first-{len(answer['rows'])}-rows" if answer["more"] else ""
    name = re.sub(r"[^\w.+=@-]", "_", run, flags=re.ASCII)
    headers = {"content-disposition": f'attachment; filename="{name}{cut}.csv"'}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _harmless(cell: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    formula = cell[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{cell}" if formula and not _is_number(cell) else cell


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
