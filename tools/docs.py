"""Writes what says the same as the code: recipe.md from the models, commands.md from the command line, reasons.md from what rules
and stages declare, and for the DAGs, which import nothing of zhclip, the names of the stage commands.

python -m tools.docs            # write all; tests/docs fails where they are not what this writes
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer.main
import yaml
from pydantic.fields import FieldInfo

from foundation.config import Config
from pipeline.recipe import Recipe
from pipeline.stages.reasons import all_reasons
from pipeline.stages.registry import COMMANDS, OUTCOMES
from zhclip.app import app

REPOSITORY = Path(__file__).parents[1]
MARKUP = re.compile(r"\[/?(?:bold|dim|italic)?\]")
COMMAND_LINE = re.compile(r"\s*(zhclip|torchrun|ZHCLIP_TOKEN|#) ?")
LIMITS = {
    "ge": "≥",
    "gt": ">",
    "le": "≤",
    "lt": "<",
    "min_length": "length ≥",
    "max_length": "length ≤",
    "pattern": "like",
}


def main() -> None:
    """Writes the files."""
    for name, text in generated().items():
        (REPOSITORY / name).write_text(text, encoding="utf-8")


def generated() -> dict[str, str]:
    """Text of each generated file by its path in the repository."""
    return {
        "docs/recipe.md": recipe_page(),
        "docs/commands.md": commands_page(),
        "docs/reasons.md": reasons_page(),
        "dags/zhclip_tasks/stages.json": json.dumps(list(COMMANDS)) + "\n",
    }


def recipe_page() -> str:
    """Every value of a recipe: default, limits, unit, meaning."""
    lines = [
        "# Recipe reference",
        "",
        "A recipe is YAML; every value but the sources has a default. `zhclip recipe show FILE` prints a recipe with all of",
        "them, `--set key.path=value` overrides one. Written by `python -m tools.docs` from the models that check a recipe.",
    ]
    for path, model in sections(Recipe):
        lines += ["", f"## {path}", "", paragraph(model.__doc__ or ""), ""]
        lines += ["| value | default | limits | meaning |", "|---|---|---|---|"]
        lines += [row(name, field) for name, field in model.model_fields.items()]
    return "\n".join(lines) + "\n"


def sections(root: type[Config]) -> Iterator[tuple[str, type[Config]]]:
    """(title, model) of a recipe's part and of all parts below it, each model once, outer parts first."""
    pending, known = [("", root)], {root}
    while pending:
        path, model = pending.pop(0)
        kind = model.model_fields.get("kind")
        suffix = f" (`kind: {get_args(kind.annotation)[0]}`)" if kind else ""
        if model.model_fields:
            yield (f"`{path}`{suffix}" if path else "A recipe"), model
        for name, field in model.model_fields.items():
            for part in models_in(field.annotation):
                if part not in known:
                    known.add(part)
                    below = f"{name}.NAME" if is_mapping(field) else name
                    pending.append((f"{path}.{below}".lstrip("."), part))


def models_in(annotation: Any) -> Iterator[type[Config]]:
    """Models that a type names, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def is_mapping(field: FieldInfo) -> bool:
    """Whether a value holds parts by name."""
    return get_origin(field.annotation) is dict


def row(name: str, field: FieldInfo) -> str:
    """One line of a table."""
    unit = (field.json_schema_extra or {}).get("unit", "") if isinstance(field.json_schema_extra, dict) else ""
    meaning = f"{field.description or ''}{f' ({unit})' if unit else ''}"
    return table_row(f"`{name}`", default(field), limits(field), meaning)


def cell(text: str) -> str:
    """A text without what would end a table's cell."""
    return text.replace("|", "\\|").replace("\n", " ").strip()


def default(field: FieldInfo) -> str:
    """The default as YAML; 'required' where there is none, nothing where the part has a table of its own."""
    if field.is_required():
        return "required"
    content = field.get_default(call_default_factory=True)
    if isinstance(content, Config):
        return "see below"
    plain = list(content) if isinstance(content, tuple) else content
    text = (
        yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=1000).removesuffix("\n...\n").strip()
    )
    return f"`{text}`"


def limits(field: FieldInfo) -> str:
    """Bounds and choices."""
    choices = [repr_choice(choice) for choice in literals_in(field.annotation)]
    bounds = [
        f"{sign} {getattr(rule, attribute):,}" if attribute != "pattern" else f"{sign} `{rule.pattern}`"
        for rule in field.metadata
        for attribute, sign in LIMITS.items()
        if getattr(rule, attribute, None) is not None
    ]
    return ", ".join([*choices, *bounds])


def literals_in(annotation: Any) -> Iterator[Any]:
    """The choices of a type."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_origin(annotation) is not dict:
        for part in get_args(annotation):
            yield from literals_in(part)


def repr_choice(choice: Any) -> str:
    """A choice as it stands in YAML."""
    return f"`{choice}`"


def paragraph(docstring: str) -> str:
    """A docstring's text up to what is only for programmers."""
    text = inspect.cleandoc(docstring).partition("\n\nArgs:")[0].partition("\n\nAttributes:")[0]
    return MARKUP.sub("", text)


def commands_page() -> str:
    """Every command: what it does, its arguments and options."""
    lines = [
        "# Command reference",
        "",
        "`zhclip COMMAND --help` prints the same, `zhclip --version` the version. Exit codes: 0 done, 1 work failed or a check",
        "did not pass, 2 a recipe, path or option cannot be used, 3 verify: a run is not complete, 130 interrupted.",
        "`--log-format json` (one JSON object a line on stderr, and nothing else) and `--log-level info` may stand before or",
        "after any command. Written by `python -m tools.docs` from the command line's own definition.",
    ]
    for name, command in commands("zhclip", typer.main.get_command(app)):
        lines += ["", f"## {name}", "", *help_text(command.help or "")]
        parameters = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
        if any(parameter.name != "help" for parameter in parameters):
            lines += ["", "| argument or option | default | meaning |", "|---|---|---|"]
            lines += [parameter_row(parameter) for parameter in parameters if parameter.name != "help"]
    return "\n".join(lines) + "\n"


def commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """(words, command) of every command below one, in the order of `--help`."""
    for word, part in getattr(command, "commands", {}).items():
        if getattr(part, "commands", None):
            yield from commands(f"{name} {word}", part)
        elif not part.hidden:
            yield f"{name} {word}", part


def help_text(text: str) -> Iterator[str]:
    """A command's help as lines of Markdown: command lines become code."""
    inside = printed = False
    for line in MARKUP.sub("", inspect.cleandoc(text)).splitlines():
        code = bool(COMMAND_LINE.match(line)) or (inside and line.startswith("    "))
        if code != inside and line.strip():
            if printed:
                yield ""
            inside = code
        printed = bool(line.strip())
        yield f"    {line.strip()}" if code else line.replace("\b", "")


def reasons_page() -> str:
    """Every outcome of a row, and every reason code of the ledger, stage by stage."""
    lines = [
        "# Outcomes and reasons",
        "",
        "What can become of a row of metadata, in the order of the flow. Each row has one outcome: their numbers add up to the",
        "rows that were read. `zhclip reasons` prints the reasons, `zhclip status RUN` and the view `reasons` count them. Written",
        "by `python -m tools.docs` from what stages and rules declare.",
        "",
        "| outcome | in the ledger | stage | meaning |",
        "|---|---|---|---|",
    ]
    for key, (stage, outcome) in OUTCOMES.items():
        ledger = f"`{outcome.ledger}`" if outcome.ledger else ""
        lines.append(table_row(f"`{key}`", ledger, f"`{stage}`", outcome.description))
    for stage, group in groupby(all_reasons(), key=attrgetter("stage")):
        lines += ["", f"## Stage `{stage}`", "", "| reason | meaning |", "|---|---|"]
        lines += [table_row(f"`{reason.code}`", reason.description) for reason in group]
    return "\n".join(lines) + "\n"


def table_row(*texts: str) -> str:
    """One line of a table."""
    return "| " + " | ".join(cell(text) for text in texts) + " |"


def parameter_row(parameter: Any) -> str:
    """One line of a table."""
    is_option = parameter.param_type_name == "option"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    spelling = names if is_option else f"`{parameter.metavar or parameter.name.upper()}`"
    content = parameter.default() if callable(parameter.default) else parameter.default
    if parameter.name == "workers":
        shown = "all cores"
    elif parameter.required:
        shown = "required"
    else:
        shown = "" if content in (None, "", False, [], ()) else f"`{content}`"
    return table_row(spelling, shown, MARKUP.sub("", parameter.help or ""))


if __name__ == "__main__":
    main()
