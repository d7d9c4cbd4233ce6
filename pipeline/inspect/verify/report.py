"""What `verify` comes to: numbers, problems, and a verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape

from foundation.errors import EXIT_FAILED, EXIT_INCOMPLETE
from foundation.text import counted

SHOWN = 50  # problems on a screen


@dataclass
class Report:
    """What was checked, every problem, each naming its place, and how far the run is."""

    checked: dict[str, int] = field(default_factory=lambda: {"shards": 0, "files": 0, "bytes": 0, "published pairs": 0})
    problems: list[str] = field(default_factory=list)
    incomplete: str = ""  # what is still to be done, such as `publish 0 of 4 shards`; "": the run is complete
    root: str = ""  # the hash of a complete run, computed anew
    skipped: list[str] = field(default_factory=list)  # what was not looked at, and why

    @property
    def exit_code(self) -> int:
        """1 where there is a problem, else 3 where the run is not complete, else 0."""
        return EXIT_FAILED if self.problems else EXIT_INCOMPLETE if self.incomplete else 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return dict(vars(self))

    def print(self, console: Console) -> None:
        """One screen: the problems, what was not looked at, the root, the verdict, and what was checked."""
        checked = ", ".join(counted(number, name.removesuffix("s")) for name, number in self.checked.items())
        for problem in self.problems[:SHOWN]:
            console.print(f"[red]✗[/] {escape(problem)}", highlight=False, soft_wrap=True)
        if len(self.problems) > SHOWN:
            console.print(f"  … and {len(self.problems) - SHOWN:,} more; all of them with --json")
        for note in self.skipped:
            console.print(f"[yellow]not checked:[/] {escape(note)}", highlight=False, soft_wrap=True)
        if self.root:
            console.print(f"root {self.root}", highlight=False, soft_wrap=True)
        if self.incomplete:
            console.print(f"[yellow]not complete:[/] {escape(self.incomplete)}", highlight=False, soft_wrap=True)
        verdict = f"[red]{counted(len(self.problems), 'problem')}[/]" if self.problems else self._good_verdict()
        console.print(f"{verdict}: {checked}", highlight=False)

    def _good_verdict(self) -> str:
        return "[green]what is there holds[/]" if self.incomplete else "[green]everything holds[/]"
