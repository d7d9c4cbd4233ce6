"""Words that a regular expression cannot do without: a cheap search for them first saves most searches for the pattern."""

from __future__ import annotations

import re

TOKEN = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\(\?[^:)]*:|[()|]|[*+?]|\{[0-9,]*\}|.", re.DOTALL)
META = frozenset("^$.()|*+?")


def required_words(regex: str) -> tuple[str, ...] | None:
    """Words of which every match of `regex` contains at least one, or None where that cannot be seen at a glance.

    Seen are a run of plain characters, and a group of plain alternatives, that stand in the outermost sequence and are
    not optional. Each word has two characters or more and one that is not ASCII, so that it is rare. The expression is in
    Rust syntax and takes case into account; None for what this reader does not know.
    """
    if "&&" in regex or "[[" in regex or re.search(r"\(\?(?!:)", regex) or re.search(r"\\[pPxuUQ]", regex):
        return None
    parts = _outermost(TOKEN.findall(regex))
    if parts is None:
        return None
    for words in parts:
        if all(len(word) >= 2 and not word.isascii() for word in words):
            return tuple(words)
    return None


def _outermost(tokens: list[str]) -> list[list[str]] | None:
    """The alternatives of each compulsory group or run of the outermost sequence; None if that is an alternation."""
    parts, run, position = [], "", 0
    while position < len(tokens):
        token = tokens[position]
        if token == "|":
            return None
        body, position = _group(tokens, position) if token.startswith("(") else ([token], position + 1)
        optional = position < len(tokens) and (tokens[position] in ("?", "*") or tokens[position].startswith("{"))
        if not token.startswith("(") and _plain(token) and not optional:
            run += token
            continue
        parts.append([run])
        run = ""
        if not optional and token.startswith("(") and all(_plain(character) or character == "|" for character in body):
            parts.append("".join(body).split("|"))
    return [*parts, [run]]


def _group(tokens: list[str], position: int) -> tuple[list[str], int]:
    """The tokens within the group that opens at `position`, and the position after its end."""
    depth = 0
    for end in range(position, len(tokens)):
        depth += tokens[end].startswith("(") - (tokens[end] == ")")
        if depth == 0:
            return tokens[position + 1 : end], end + 1
    return tokens[position + 1 :], len(tokens)


def _plain(token: str) -> bool:
    return len(token) == 1 and token not in META
