"""The command `zhclip reasons`."""

from __future__ import annotations

from dataclasses import asdict
from difflib import get_close_matches
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from foundation.console import fail
from foundation.errors import EXIT_INVALID
from zhclip.console import print_json


def add_command(app: typer.Typer) -> None:
    """Add `reasons` to a command line."""
    app.command("reasons")(reasons_command)


def reasons_command(
    code: Annotated[
        str | None, typer.Argument(help="Only this code, as written in a ledger or by `zhclip status`.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the codes as JSON.")] = False,
) -> None:
    """Explain every reason code for which a row can be rejected or fail, stage by stage.

    zhclip reasons
    zhclip reasons caption_too_short
    """
    from pipeline.stages.reasons import all_reasons

    reasons = list(all_reasons())
    if code is not None:
        known = [reason.code for reason in reasons]
        reasons = [reason for reason in reasons if reason.code == code or reason.matches(code)]
        if not reasons:
            near = get_close_matches(code, known, n=1)
            fail(f"no stage gives the reason {code!r}" + (f"; did you mean {near[0]}?" if near else ""), EXIT_INVALID)
    if as_json:
        print_json([asdict(reason) for reason in reasons])
        return
    table = Table("stage", "reason", "what it says")
    for reason in reasons:
        table.add_row(reason.stage, escape(reason.code), escape(reason.description))
    Console().print(table)
