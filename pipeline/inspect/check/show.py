"""Print the results of a check as a table, or give them as JSON."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from foundation.text import counted
from pipeline.inspect.check.check import RuleResult
from pipeline.inspect.check.rule import PREVIOUS, Measured, Rule

MARKS = {"passed": "[green]✓[/]", "failed": "[bold red]✗[/]", "warned": "[yellow]![/]", "skipped": "[dim]–[/]"}
MAX_LISTED = 100  # parts in JSON that break one rule


def as_json(run: str, policy: str, against: str | None, results: Sequence[RuleResult]) -> dict[str, Any]:
    """The results in plain JSON types; `passed` agrees with the exit code."""
    return {
        "run": run,
        "policy": policy,
        "against": against,
        "passed": not any(result.stops for result in results),
        "rules": [_rule_json(result) for result in results],
    }


def print_results(run: str, against: str | None, results: Sequence[RuleResult], console: Console) -> None:
    """Print a line per rule; then, for each broken rule, what it means and a query for a closer look."""
    table = Table(box=None, pad_edge=False, show_edge=False, expand=True)
    table.add_column("")
    table.add_column("rule", no_wrap=True)
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("limit", no_wrap=True)
    table.add_column("", no_wrap=True, overflow="ellipsis", ratio=1)
    for result in results:
        figure = "" if result.worst is None else _number(result.rule, result.worst.value)
        table.add_row(
            MARKS[_state(result)], escape(result.name), figure, _limit(result.rule), escape(_explanation(result))
        )
    console.print(table)
    for result in results:
        if result.outcome == "failed" and result.worst is not None:
            _print_next(run, against, result, result.worst, console)
    console.print(_last_line(results))


def _state(result: RuleResult) -> str:
    return "warned" if result.outcome == "failed" and result.rule.severity == "warn" else result.outcome


def _explanation(result: RuleResult) -> str:
    if result.outcome == "skipped":
        return "compares with a previous run; name it with --against"
    if result.worst is None:
        return "the run has nothing that this rule looks at"
    text = ": ".join(part for part in (result.worst.subject, result.worst.note) if part)
    if result.worst.excused and result.rule.beyond(result.worst) > 0:
        text += "; no more than chance"
    return text + (f"; {len(result.failing) - 1:,} more beyond the limit" if len(result.failing) > 1 else "")


def _print_next(run: str, against: str | None, result: RuleResult, worst: Measured, console: Console) -> None:
    colour = "red" if result.rule.severity == "error" else "yellow"
    text = f"{_explanation(result)}. {result.rule.advice}".removesuffix(" ")
    console.print(f"\n[{colour}]{escape(result.name)}[/]: {escape(text)}", highlight=False)
    attach = f"--attach {PREVIOUS}={shlex.quote(against)} " if against and result.rule.asks_previous else ""
    command = f"zhclip sql {shlex.quote(run)} {attach}{_shell(result.rule.evidence(worst))}"
    console.print(f"  {escape(command)}", highlight=False, soft_wrap=True)


def _last_line(results: Sequence[RuleResult]) -> str:
    counts = {state: sum(_state(result) == state for result in results) for state in MARKS}
    texts = {state: f"{count} {state}" for state, count in counts.items() if count}
    if counts["warned"]:
        texts["warned"] = counted(counts["warned"], "warning")
    text = ", ".join(texts.values())
    return f"\n[bold red]failed[/]: {text}" if counts["failed"] else f"\n[bold green]passed[/]: {text}"


def _rule_json(result: RuleResult) -> dict[str, Any]:
    low, high = result.rule.limits
    worst = result.worst
    return {
        "name": result.name,
        "rule": result.rule.kind,
        "severity": result.rule.severity,
        "verdict": result.outcome,
        "subject": worst.subject if worst else None,
        "measured": _finite(worst.value) if worst else None,
        "min": low,
        "max": high,
        "explanation": _explanation(result),
        "advice": result.rule.advice if result.outcome == "failed" else None,
        "sql": result.rule.evidence(worst) if result.outcome == "failed" and worst else None,
        "failing": list(_failing(result)),
    }


def _failing(result: RuleResult) -> Iterator[dict[str, Any]]:
    for figure in result.failing[:MAX_LISTED]:
        yield {"subject": figure.subject, "measured": _finite(figure.value), "note": figure.note}


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
