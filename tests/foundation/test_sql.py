"""Connections to DuckDB, and text in its queries."""

from __future__ import annotations

import pytest

from foundation.sql import connect, literal


@pytest.mark.parametrize("text", ["", "laion", "it's", "''", 'a\\b\n%s {x} "y" -- ; 中文'])
def test_a_literal_is_the_text(text: str) -> None:
    with connect() as connection:
        assert connection.sql(f"select {literal(text)}").fetchall() == [(text,)]


def test_a_connection_has_the_settings_that_it_was_given() -> None:
    asked = "select current_setting('threads'), current_setting('memory_limit'), current_setting('temp_directory')"
    with connect(threads=1, memory="512MiB", temp_directory="/nowhere") as connection:
        assert connection.sql(asked).fetchall() == [(1, "512.0 MiB", "/nowhere")]
        assert connection.sql("select current_setting('enable_progress_bar')").fetchall() == [(False,)]
