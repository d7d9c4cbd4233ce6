"""Verdicts as a table for people and as JSON for machines."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.inspect.check.check import Verdict
from pipeline.inspect.check.rule import PREVIOUS, Measured, Rule

MARKS = {"passed": "[green]✓[/]", "failed": "[bold red]✗[/]", "warned": "[yellow]![/]", "skipped": "[dim]–[/]"}
MOST_LISTED = 100  # parts in JSON that break one rule


def as_json(run: str, policy: str, against: str | None, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Plain JSON types; `passed` is what the exit code says."""
    return {
        "run": run,
        "policy": policy,
        "against": against,
        "passed": not any(one.stops for one in verdicts),
        "rules": [_rule_json(one) for one in verdicts],
    }


def print_verdicts(run: str, against: str | None, verdicts: Sequence[Verdict], console: Console) -> None:
    """A line per rule; then, for each one that is broken, all about it: what it means and what to look at next."""
    table = Table(box=None, pad_edge=False, show_edge=False, expand=True)
    table.add_column("")
    table.add_column("rule", no_wrap=True)
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("limit", no_wrap=True)
    table.add_column("", no_wrap=True, overflow="ellipsis", ratio=1)
    for one in verdicts:
        found = "" if one.worst is None else _number(one.rule, one.worst.value)
        table.add_row(MARKS[_state(one)], escape(one.name), found, _limit(one.rule), escape(_explanation(one)))
    console.print(table)
    for one in verdicts:
        if one.verdict == "failed" and one.worst is not None:
            _print_next(run, against, one, one.worst, console)
    console.print(_last_line(verdicts))


def _state(one: Verdict) -> str:
    return "warned" if one.verdict == "failed" and one.rule.severity == "warn" else one.verdict


def _explanation(one: Verdict) -> str:
    if one.verdict == "skipped":
        return "compares with a previous run; name it with --against"
    if one.worst is None:
        return "the run has nothing that this rule looks at"
    text = ": ".join(part for part in (one.worst.subject, one.worst.note) if part)
    if one.worst.excused and one.rule.beyond(one.worst) > 0:
        text += "; no more than chance"
    return text + (f"; {len(one.failing) - 1:,} more beyond the limit" if len(one.failing) > 1 else "")


def _print_next(run: str, against: str | None, one: Verdict, worst: Measured, console: Console) -> None:
    colour = "red" if one.rule.severity == "error" else "yellow"
    text = f"{_explanation(one)}. {one.rule.advice}".removesuffix(" ")
    console.print(f"\n[{colour}]{escape(one.name)}[/]: {escape(text)}", highlight=False)
    attach = f"--attach {PREVIOUS}={shlex.quote(against)} " if against and one.rule.asks_previous else ""
    command = f"zhclip sql {shlex.quote(run)} {attach}{_shell(one.rule.look(worst))}"
    console.print(f"  {escape(command)}", highlight=False, soft_wrap=True)


def _last_line(verdicts: Sequence[Verdict]) -> str:
    counts = {state: sum(_state(one) == state for one in verdicts) for state in MARKS}
    names = {"passed": "passed", "failed": "failed", "warned": "to look at", "skipped": "skipped"}
    text = ", ".join(f"{count} {names[state]}" for state, count in counts.items() if count)
    return f"\n[bold red]failed[/]: {text}" if counts["failed"] else f"\n[bold green]passed[/]: {text}"


def _rule_json(one: Verdict) -> dict[str, Any]:
    low, high = one.rule.limits
    worst = one.worst
    return {
        "name": one.name,
        "rule": one.rule.kind,
        "severity": one.rule.severity,
        "verdict": one.verdict,
        "subject": worst.subject if worst else None,
        "measured": _finite(worst.value) if worst else None,
        "min": low,
        "max": high,
        "explanation": _explanation(one),
        "advice": one.rule.advice if one.verdict == "failed" else None,
        "sql": one.rule.look(worst) if one.verdict == "failed" and worst else None,
        "failing": list(_failing(one)),
    }


def _failing(one: Verdict) -> Iterator[dict[str, Any]]:
    for found in one.failing[:MOST_LISTED]:
        yield {"subject": found.subject, "measured": _finite(found.value), "note": found.note}


def _finite(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else number


def _limit(rule: Rule) -> str:
    low, high = rule.limits
    if low == high:
        return f"= {_number(rule, low)}"
    parts = ("≥", low), ("≤", high)
    return ", ".join(f"{sign} {_number(rule, limit)}" for sign, limit in parts if limit is not None)


def _number(rule: Rule, number: float | None) -> str:
    if number is None or not math.isfinite(number):
        return "nothing"
    if rule.unit in ("share", "change"):
        return f"{100 * number:.4g}{'%' if rule.unit == 'share' else ' points'}"
    return f"{number:,.0f}" if rule.unit == "count" or abs(number) >= 10_000 else f"{number:.4g}"


def _shell(sql: str) -> str:
    """SQL as one word of a shell, in double quotes where that needs no escapes."""
    return shlex.quote(sql) if any(sign in sql for sign in '"$`\\!') else f'"{sql}"'
