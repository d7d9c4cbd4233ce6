"""The process that answers SQL about one run: python -m pipeline.serve.sql_child, driven over standard input.

First line: the Setup. Then a line for each Question, and a line of JSON for each answer on standard output. It imports
nothing but DuckDB, starts locked down, and may be killed at any time.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

import duckdb

from foundation import sql
from pipeline.serve.sandbox import limit_resources, restrict_files
from pipeline.serve.sql_check import refusal, without_semicolon

MACHINE = ("/proc/self/cgroup", "/sys/fs/cgroup", "/sys/devices/system/cpu")  # DuckDB asks how many cores there are
SETTINGS = """
    set timezone = 'UTC';
    set parquet_metadata_cache = true;
    set disabled_optimizers = 'late_materialization';  -- of DuckDB 2.0.0: an internal error on some top-n queries
"""
LOCKS = """
    set temp_directory = '';
    set autoinstall_known_extensions = false;
    set autoload_known_extensions = false;
    set allow_community_extensions = false;
    set python_enable_replacements = false;
    set enable_external_access = false;
    set lock_configuration = true;
"""
ROWS_AT_ONCE = 500


@dataclass(frozen=True)
class Setup:
    """What a child needs to know about its run."""

    run: str  # its folder, with a slash at the end
    catalog: str  # folder of the small tables, likewise
    views: str  # text of catalog.sql
    files: list[str]  # all Parquet files that the views read
    memory: int  # bytes that DuckDB may use
    process_memory: int  # bytes that the process may use
    threads: int


@dataclass(frozen=True)
class Question:
    """A query, and the limits of its answer."""

    query: str
    rows: int
    characters: int  # of all cells together
    cell: int  # characters of one cell
    seconds: float


def connect(setup: Setup) -> duckdb.DuckDBPyConnection:
    """A connection that can read the run's views and nothing else."""
    connection = sql.connect(threads=setup.threads, memory=f"{setup.memory}B")
    connection.execute(SETTINGS)
    for name, path in (("run", setup.run), ("catalog", setup.catalog)):
        connection.execute(f"set variable {name} = {sql.literal(path)}")
    connection.execute(f"set allowed_paths = [{', '.join(map(sql.literal, setup.files))}]")
    connection.execute(setup.views)
    connection.execute(LOCKS)
    return connection


def answer(connection: duckdb.DuckDBPyConnection, question: Question) -> dict[str, Any]:
    """columns (name and type), rows (every cell a text, or null), more (there is more than that), seconds; or error and kind."""
    begun = time.monotonic()
    timer = threading.Timer(question.seconds, connection.interrupt)
    timer.start()
    try:
        if reason := refusal(connection, question.query):
            return {"kind": "refused", "error": reason}
        return {**_ask(connection, question), "seconds": time.monotonic() - begun}
    except duckdb.InterruptException:
        return {"kind": "time", "error": f"It took more than {question.seconds:g} seconds and was stopped."}
    except duckdb.OutOfMemoryException as error:
        return {"kind": "memory", "error": f"It needs more memory than a query has here. {_first_line(error)}"}
    except duckdb.Error as error:
        return {"kind": "invalid", "error": str(error)}
    finally:
        timer.cancel()
        timer.join()


def _ask(connection: duckdb.DuckDBPyConnection, question: Question) -> dict[str, Any]:
    text = without_semicolon(question.query)
    cells = f"select left(columns(*)::varchar, {question.cell + 1}) from (\n{text}\n) limit {question.rows + 1}"
    if reason := refusal(connection, cells):  # the text that runs is checked, not only the text it is made of
        return {"kind": "refused", "error": reason}
    relation = connection.sql(text)
    columns = [[name, str(kind)] for name, kind in zip(relation.columns, relation.types, strict=True)]
    cursor = connection.execute(cells)
    rows: list[tuple[str | None, ...]] = []
    size = 0
    while len(rows) <= question.rows and (batch := cursor.fetchmany(ROWS_AT_ONCE)):
        for row in batch:
            size += sum(len(cell) for cell in row if cell)
            if size > question.characters:
                return {"columns": columns, "rows": rows, "more": True}
            rows.append(row)
    return {"columns": columns, "rows": rows[: question.rows], "more": len(rows) > question.rows}


def main() -> None:
    """Answer questions until standard input ends."""
    setup = Setup(**json.loads(sys.stdin.readline()))
    limit_resources(setup.process_memory)
    restricted = restrict_files([setup.run, setup.catalog, *MACHINE])
    connection = connect(setup)
    _send({"ready": True, "restricted": restricted})
    for line in sys.stdin:
        response = answer(connection, Question(**json.loads(line)))
        _send(response)
        if response.get("kind") == "memory":
            return  # the process may be damaged after that


def question_line(question: Question) -> str:
    """The line of standard input that asks a question."""
    return json.dumps(asdict(question)) + "\n"


def _send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


if __name__ == "__main__":
    main()
