"""Which names a storage takes: those that mean the same on a disk and in an object store."""

from __future__ import annotations


def checked(name: str) -> str:
    """The name, if every storage takes it: parts between `/`, none of them empty, `.` or `..`, no backslash, nothing
    that cannot be printed on one line, and at most 255 bytes a part.

    Raises:
        ValueError: it is another one.
    """
    if fault := _fault(name):
        raise ValueError(f"{name!r} is no name of a file in a storage: {fault}")
    return name


def checked_prefix(prefix: str) -> str:
    """The prefix of a listing: "", or the name of a folder with a `/` behind it. Raises ValueError."""
    if prefix and not prefix.endswith("/"):
        raise ValueError(f"{prefix!r} is no prefix of a listing: a folder's name has a / at its end")
    return prefix and checked(prefix[:-1]) + "/"


def checked_range(start: int, end: int | None) -> tuple[int, int | None]:
    """The limits of a read. Raises ValueError where they count from a file's end: no storage does."""
    if start < 0 or (end is not None and end < 0):
        raise ValueError(f"bytes {start} to {end} of a file: both are counted from its beginning")
    return start, end


def _fault(name: str) -> str:
    parts = name.split("/")
    if "" in parts:
        return "it is empty, absolute, or has an empty part"
    if "." in parts or ".." in parts:
        return "it leads elsewhere by . or .."
    if "\\" in name:
        return "it has a backslash"
    if any(ord(letter) < 32 or ord(letter) == 127 or "\ud800" <= letter <= "\udfff" for letter in name):
        return "it has a control character or half of a character"
    if max(len(part.encode()) for part in parts) > 255:
        return "a part of it is longer than 255 bytes"
    return ""
