"""The items of an array in a large JSON file, one at a time: memory holds a piece of the file and one item."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

PIECE = 4 << 20  # bytes read at a time
LARGEST_ITEM = 64 << 20  # characters; an item that is longer is taken for damage
LONGEST_NUMBER = 32  # characters; a number so near to the end of a piece may go on in the next
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


class JsonItems:
    """Reads a JSON file from front to back; `offset` is where the reader stands, as a byte of the file.

    Whatever is not JSON raises ValueError with the byte at which it stands.

    Example:
        >>> with open_file("captions_train2014.json") as file:
        ...     captions = [item["caption"] for item in JsonItems(file).array("annotations")]
    """

    def __init__(self, file: BinaryIO, start: int = 0) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")()
        self._text, self._at = "", 0
        self._before = start  # bytes of the file in front of `_text`
        file.seek(start)
        if start == 0 and self._next_is("\ufeff"):
            self._at += 1

    @property
    def offset(self) -> int:
        """Byte position in the file of what is read next."""
        return self._before + len(self._text[: self._at].encode())

    def arrays(self) -> Iterator[tuple[str, Iterator[Any]]]:
        """Name and items of each array in the file's outermost object; an outermost array has the name "".

        Items that are not taken are skipped. Other values of the object are passed over.
        """
        if self._next_is("["):
            yield from self._opened("")
        else:
            yield from self._members()
        if not self._at_end():
            raise self._error("more after the end of the JSON text")

    def array(self, name: str) -> Iterator[Any]:
        """The items of one array (see `arrays`); ValueError where the file has none of that name."""
        names = []
        for array_name, items in self.arrays():
            if array_name == name:
                yield from items
                return
            names.append(array_name)
        raise ValueError(f"no array `{name}`; arrays in the file: {', '.join(map(repr, names)) or 'none'}")

    def rest(self) -> Iterator[Any]:
        """The items from where the reader stands (an `offset` noted between two items) to the end of that array."""
        if self._next_is(","):
            self._expect(",")
        return self._items()

    def _items(self) -> Iterator[Any]:
        while not self._next_is("]"):
            yield self._value()
            if not self._next_is("]"):
                self._expect(",")

    def _opened(self, name: str) -> Iterator[tuple[str, Iterator[Any]]]:
        self._expect("[")
        items = self._items()
        yield name, items
        for _ in items:  # what the caller left
            pass
        self._expect("]")

    def _members(self) -> Iterator[tuple[str, Iterator[Any]]]:
        self._expect("{")
        while not self._next_is("}"):
            name = self._value()
            self._expect(":")
            if self._next_is("["):
                yield from self._opened(str(name))
            else:
                self._value()
            if not self._next_is("}"):
                self._expect(",")
        self._expect("}")

    def _next_is(self, character: str) -> bool:
        return not self._at_end() and self._text[self._at] == character

    def _expect(self, character: str) -> None:
        if not self._next_is(character):
            raise self._error(f"expected {character!r}")
        self._at += 1

    def _at_end(self) -> bool:
        """Whether only white space is left; the reader then stands on the next character that is none."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text):
                return False
            if not self._more():
                return True

    def _value(self) -> Any:
        self._at_end()
        while True:
            try:
                content, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if len(self._text) - self._at > LARGEST_ITEM or not self._more():
                    raise self._error(error.msg) from error
                continue
            may_go_on = isinstance(content, int | float) and len(self._text) - end < LONGEST_NUMBER
            length = end - self._at  # `_more` moves the text
            if not may_go_on or not self._more():
                self._at += length
                return content

    def _more(self) -> bool:
        """Reads another piece behind what is not used yet; False at the end of the file."""
        piece = self._file.read(max(PIECE, len(self._text) - self._at))  # doubling: a large item costs no square
        self._before = self.offset
        self._text, self._at = self._text[self._at :], 0
        self._text += self._decode.decode(piece, final=not piece)
        return bool(piece)

    def _error(self, message: str) -> ValueError:
        text = self._text[self._at : self._at + 40]
        return ValueError(
            f"byte {self.offset:,}: {message}; found {text!r}" if text else f"ends at byte {self.offset:,}"
        )
