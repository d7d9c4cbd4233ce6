"""What pydantic found wrong, in words for the person who wrote the file."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from foundation.text import counted, kind_of, shown

Steps = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where in the file, and what."""

    steps: Steps
    message: str


def problems(model: type[BaseModel], error: ValidationError) -> Iterator[Problem]:
    """What is wrong, in the order in which pydantic found it."""
    errors = error.errors()
    for details in errors:
        if _follows_from_others(details, errors):
            continue
        steps, parent = _locate(model, details["loc"])
        if details["type"] == "union_tag_invalid":
            steps = (*steps, _tag_name(details))
        yield Problem(steps, _message(details, parent))


def _follows_from_others(details: Any, errors: Sequence[Any]) -> bool:
    """Whether a list is called too short only because pydantic does not count its items that are wrong themselves."""
    given, loc = details["input"], details["loc"]
    return (
        details["type"] == "too_short"
        and len(given) >= details["ctx"]["min_length"]
        and any(other["loc"][: len(loc)] == loc for other in errors if other is not details)
    )


def nearest(name: str, known: Sequence[str]) -> str:
    """The known name that is nearest, as a question; all known names where none is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}"


def _locate(model: type[BaseModel], loc: Steps) -> tuple[Steps, Any]:
    """The steps of `loc` that the file has too, and the type of what holds the last of them.

    Pydantic puts the tag of a union's member, or the member's name, among the names.
    """
    steps: list[str | int] = []
    options: list[Any] = [model]
    parent: Any = model
    for step in (step for step in loc if step != "[key]"):  # a key that is not allowed is named by itself
        member = _member(options, step)
        if member is not None:
            options = [member]
            continue
        children = [child for option in options for child in _children(option, step)]
        if not children and len(options) > 1:
            continue  # the name of an option, such as `int` or `list[str]`
        parent = options[0] if options else None
        steps.append(step)
        options = [kind for child in children for kind in _options(child)]
    return tuple(steps), parent


def _options(annotation: Any) -> list[Any]:
    """The types that a value may have: the members of a union without None, else the type itself."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _options(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [kind for member in get_args(annotation) for kind in _options(member)]
    return [] if annotation is type(None) else [annotation]


def _member(options: Sequence[Any], step: str | int) -> Any:
    """The model among several that carries `step` as its tag, None where none does."""
    models = [option for option in options if _is_model(option)]
    return next((kind for kind in models if len(models) > 1 and step in _tags(kind)), None)


def _tags(model: type[BaseModel]) -> list[Any]:
    literals = [field.annotation for field in model.model_fields.values() if get_origin(field.annotation) is Literal]
    return [tag for literal in literals if len(get_args(literal)) == 1 for tag in get_args(literal)]


def _children(option: Any, step: str | int) -> list[Any]:
    """The type of what `option` holds under `step`, as a list of one; empty where it holds nothing of that name."""
    if _is_model(option):
        field = option.model_fields.get(step)
        return [field.annotation] if field else []
    origin, arguments = get_origin(option) or option, get_args(option)
    if not isinstance(origin, type) or issubclass(origin, str):
        return []
    if issubclass(origin, Mapping):
        return [arguments[1]] if arguments else [Any]
    return [arguments[0]] if issubclass(origin, Sequence) and isinstance(step, int) and arguments else []


def _is_model(option: Any) -> bool:
    return isinstance(option, type) and issubclass(option, BaseModel)


def _message(details: Any, parent: Any) -> str:
    context = details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden":
            return f"unknown name; {nearest(str(details['loc'][-1]), list(getattr(parent, 'model_fields', ())))}"
        case "union_tag_invalid":
            known = [tag.strip("'\" ") for tag in context["expected_tags"].split(",")]
            return f"unknown {_tag_name(details)} `{context['tag']}`; {nearest(context['tag'], known)}"
        case "union_tag_not_found":
            return f"`{_tag_name(details)}` is needed"
        case "missing":
            return "a value is needed"
        case "too_short":
            return (
                f"at least {counted(context['min_length'], 'item')} needed; found {context['actual_length'] or 'none'}"
            )
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"a mapping is needed{_given(details)}"
        case "tuple_type" | "list_type":
            return f"a list is needed{_given(details)}"
    message = details["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:] + _given(details)


def _given(details: Any) -> str:
    """What the file has there; of a list or a mapping only that it is one, where another kind of value is needed."""
    given = details["input"]
    if not isinstance(given, dict | list | tuple | BaseModel):
        return f"; found {shown(given)}"
    if not details["type"].endswith("_type"):
        return ""
    return f"; found {kind_of(given)}"


def _tag_name(details: Any) -> str:
    """The field whose value says which member of a union is meant."""
    return details["ctx"]["discriminator"].strip("'")
