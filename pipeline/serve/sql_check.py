"""Which SQL may be asked: one statement, and nothing in it but reading the views.

DuckDB says of `with t as (copy … to 'file') from t` that it is a SELECT, so its parse tree is looked at, not its type alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb

READING = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}  # queries that change nothing
FUNCTIONS = {
    "duckdb_columns", "duckdb_functions", "duckdb_views", "generate_series", "json_each", "range", "repeat", "unnest",
}  # fmt: skip
"""Table functions that may stand after FROM; all others read files, or change or reveal what is no one's business."""


def refusal(connection: duckdb.DuckDBPyConnection, query: str) -> str | None:
    """Why a query is refused, in words for whoever wrote it; None where it may be asked.

    Raises:
        duckdb.Error: it is no SQL.
    """
    statements = connection.extract_statements(query)
    if not statements:
        return "There is no query yet: write one, such as  select * from funnel"
    if len(statements) > 1:
        return f"These are {len(statements)} statements; ask one at a time."
    kind = statements[0].type.name
    if kind == "MULTI":
        return "A pivot needs its values here: pivot … on column in ('a', 'b') …"
    if kind != "SELECT":
        return f"{kind.replace('_', ' ')} is refused: this page only reads (select, with, from, describe, summarize)."
    return _refused_part(connection, statements[0].query)


def without_semicolon(query: str) -> str:
    """The text of a single statement, up to its semicolon."""
    encoded = query.encode()
    ends = [place for place, kind in duckdb.tokenize(query) if kind == duckdb.token_type.operator]
    end = next((place for place in ends if encoded[place : place + 1] == b";"), len(encoded))
    return encoded[:end].decode()


def _refused_part(connection: duckdb.DuckDBPyConnection, query: str) -> str | None:
    (text,) = connection.execute("select json_serialize_sql(?)", [query]).fetchone()
    tree = json.loads(text)
    if tree["error"]:
        return f"This statement is refused: {tree['error_message']}"
    for node in _nodes(tree):
        kind = node["type"]
        if kind.endswith("_NODE") and kind not in READING:
            return f"{kind.split('_')[0]} is refused, also inside a query: this page only reads."
        if kind == "TABLE_FUNCTION" and (name := node["function"]["function_name"].lower()) not in FUNCTIONS:
            return f"{name}() is refused: here a query reads the views, and no files."
    return None


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every part of a parse tree that says what it is."""
    waiting = [tree]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if isinstance(found.get("type"), str):
                yield found
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)
