"""Check SQL before it runs: one statement, which only reads the views.

DuckDB says of `with t as (copy … to 'file') from t` that it is a SELECT, so its parse tree is checked, not its type alone.
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
"""Table functions that are allowed after FROM; others read files, or change or reveal settings."""


def refusal(connection: duckdb.DuckDBPyConnection, query: str) -> str | None:
    """Why a query is refused, in words for its author; None where it is allowed.

    Raises:
        duckdb.Error: it is not SQL.
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
    ends = [offset for offset, kind in duckdb.tokenize(query) if kind == duckdb.token_type.operator]
    end = next((offset for offset in ends if encoded[offset : offset + 1] == b";"), len(encoded))
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
    """Every node of a parse tree that has a type."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if isinstance(node.get("type"), str):
                yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
