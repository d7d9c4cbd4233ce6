"""Text files line by line, and the error of all readers here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from foundation.errors import InvalidInput
from foundation.text import shown


class FormatError(InvalidInput, ValueError):
    """A file that is not in its format; the message names file, line, what was expected and what was found."""


def numbered_lines(file: Iterable[bytes], name: str, keep_blank: bool = False) -> Iterator[tuple[int, str]]:
    """Yield line number, from 1, and line without its end; blank lines are left out, and so is a byte order mark.

    Args:
        file: an open binary file.
        name: what messages call it.

    Raises:
        FormatError: a line is not UTF-8.
    """
    for number, line in enumerate(file, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise FormatError(f"{name}:{number}: expected UTF-8 ({error.reason}); found {shown(line)}") from None
        if keep_blank or text.strip():
            yield number, text
