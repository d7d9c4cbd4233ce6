"""The prompt of `zhclip sql`: history, completion of views and columns, colours, one statement up to its semicolon."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import FuzzyWordCompleter
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.lexers import PygmentsLexer
from pygments.lexers.sql import SqlLexer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.inspect.catalog.views import COMMENTS
from pipeline.inspect.sql.interrupt import interruptible
from pipeline.inspect.sql.output import as_csv, as_parquet, as_table, statements

WORDS = [
    "select", "from", "where", "group by all", "order by", "desc", "limit", "join", "using", "left", "on", "as", "and", "or",
    "not", "null", "is", "in", "like", "between", "case", "when", "then", "else", "end", "distinct", "with", "union", "having",
    "count", "sum", "avg", "min", "max", "median", "quantile_cont", "unnest", "list_contains", "describe", "summarize",
    "filter", "over", "partition", "length", "round", "cast", "domain",
]  # fmt: skip
HELP = """A statement ends with a semicolon and may have several lines. Tab completes, the arrows bring back what was asked before.
Ctrl-C stops a running query, Ctrl-D ends.   .views lists the views   .csv FILE and .parquet FILE write all rows of the last
answer   .help   .quit"""


def run_prompt(connection: duckdb.DuckDBPyConnection, title: str, console: Console) -> None:
    """Asks, answers, and asks again until the end of the input."""
    console.print(f"[bold]{escape(title)}[/]  DuckDB {duckdb.__version__}", highlight=False)
    commands: dict[str, Callable[[], None]] = {
        ".views": lambda: show_views(console),
        ".help": lambda: console.print(HELP, highlight=False),
    }
    show_views(console)
    commands[".help"]()
    session = _session(connection)
    last = ""
    while True:
        try:
            text = session.prompt("sql> ").strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if text in (".quit", ".exit"):
            return
        if text in commands:
            commands[text]()
        elif text.startswith((".csv ", ".parquet ")):
            write(connection, last, text, console)
        elif text.startswith("."):
            console.print(f"no command {escape(text)}; .help tells", highlight=False)
        elif text:
            last = text if answer(connection, text, console) else last


def answer(connection: duckdb.DuckDBPyConnection, text: str, console: Console) -> bool:
    """Runs a statement and prints its answer, or why there is none; returns whether there was one."""
    begun = time.monotonic()

    def work() -> None:
        for answer, _ in statements(connection, text):
            rows = "done" if answer is None else as_table(answer, console)
            console.print(f"{rows}, {time.monotonic() - begun:.2f} s", style="dim", highlight=False)

    return _try(connection, work, console)


def write(connection: duckdb.DuckDBPyConnection, query: str, command: str, console: Console) -> bool:
    """Asks `query` again and writes all of its last answer: `command` is .csv FILE or .parquet FILE."""
    kind, _, name = command.partition(" ")
    path = Path(name.strip()).expanduser()

    def work() -> None:
        answers = [answer for answer, _ in statements(connection, query) if answer is not None]
        if not answers:
            console.print("nothing was answered yet", highlight=False)
        elif kind == ".parquet":
            as_parquet(answers[-1], path)
        else:
            with path.open("wb") as file:
                as_csv(answers[-1], file)
        if answers:
            console.print(f"[green]done[/] {escape(str(path))}", highlight=False)

    return _try(connection, work, console)


def _try(connection: duckdb.DuckDBPyConnection, work: Callable[[], None], console: Console) -> bool:
    try:
        interruptible(connection, work)
    except KeyboardInterrupt:
        console.print("[yellow]stopped[/]", highlight=False)
        return False
    except (duckdb.Error, OSError) as error:
        console.print(f"[red]{escape(str(error))}[/]", highlight=False)
        return False
    return True


def show_views(console: Console) -> None:
    """The views and what a row of each is."""
    table = Table(show_header=False, show_edge=False, pad_edge=False, box=None)
    for name, comment in COMMENTS.items():
        table.add_row(f"[bold]{name}[/]", comment)
    console.print(table)


def _session(connection: duckdb.DuckDBPyConnection) -> PromptSession[str]:
    columns = connection.execute("select distinct column_name from duckdb_columns() where not internal").fetchall()
    words = sorted({*WORDS, *COMMENTS, *(name for (name,) in columns)})
    session: PromptSession[str] = PromptSession(
        history=_history(),
        completer=FuzzyWordCompleter(words),
        complete_while_typing=False,
        lexer=PygmentsLexer(SqlLexer),
        prompt_continuation="...> ",
    )
    text = session.default_buffer
    session.multiline = Condition(lambda: not _complete(text.text))
    return session


def _complete(text: str) -> bool:
    return not text.strip() or text.rstrip().endswith(";") or text.lstrip().startswith(".")


def _history() -> History:
    """In the user's state folder; where that cannot be written, of this prompt alone."""
    try:
        path = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "zhclip" / "sql_history"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except (OSError, RuntimeError):
        return InMemoryHistory()
    return FileHistory(str(path))
