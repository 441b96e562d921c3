"""Records of a file that holds one JSON array, as LLaMA-Factory's data does; read piece by piece.

The elements keep their bytes. A parser that hands on values would not do: ijson's makes `?` of half an
emoji, and gives up the file for a number of twenty digits or one byte that is not UTF-8.
"""

import codecs
import json
from collections.abc import Iterator
from typing import Any

from megatron_redone.errors import UserError

_BLOCK = 1 << 20  # bytes read at once
# An element that is still not whole after so many characters is taken for a damaged one.
_LARGEST_ELEMENT = 64 << 20
_WHITESPACE = " \t\r\n"
_AFTER_A_VALUE = frozenset(' \t\r\n,]{["')


def read_array(stream: Any, path: str) -> Iterator[tuple[int, bytes]]:
    """The elements of the array and the lines on which they begin, from 1.

    Bytes that are not UTF-8 are handed on as they are; what an element means is for the caller to see.

    Args:
        stream: Of bytes, decompressed.
        path: Of the file, for messages.

    Raises:
        UserError: the file is not one whole JSON array.
    """
    text = _Text(stream, path)
    text.expect("[")
    if text.next_character() == "]":
        return
    while True:
        line = text.line
        yield line, text.element()
        if text.next_character() == "]":
            return
        text.expect(",")
        text.next_character()


class _Text:
    """The part of the file that is being looked at.

    Attributes:
        line: Of the next character.
    """

    def __init__(self, stream: Any, path: str) -> None:
        self._stream = stream
        self._path = path
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape").decode
        self._scan = json.JSONDecoder().raw_decode
        self._text = ""
        self._position = 0
        self._ended = False
        self.line = 1

    def next_character(self) -> str:
        """The next one that is not white space, left where it is."""
        while True:
            while self._position < len(self._text) and self._text[self._position] in _WHITESPACE:
                self.line += self._text[self._position] == "\n"
                self._position += 1
            if self._position < len(self._text):
                return self._text[self._position]
            if self._ended:
                raise self._damaged("it ends too early")
            self._read_on()

    def expect(self, character: str) -> None:
        """Goes past a character."""
        found = self.next_character()
        if found != character:
            raise self._damaged(f"'{character}' was expected, not {found!r}")
        self._position += 1

    def element(self) -> bytes:
        """Goes past one value, and returns its bytes."""
        while True:
            try:
                _, end = self._scan(self._text, self._position)
                # Of the number 1.5 the part "1." scans as 1: what follows a value tells that it is whole.
                if self._ended or self._text[end : end + 1] in _AFTER_A_VALUE:
                    break
            except json.JSONDecodeError as error:
                if self._ended or len(self._text) - self._position > _LARGEST_ELEMENT:
                    raise self._damaged(f"the element that begins there is not valid: {error.msg}") from None
            self._read_on()
        found = self._text[self._position : end]
        self.line += found.count("\n")
        self._position = end
        return found.encode("utf-8", "surrogateescape")

    def _read_on(self) -> None:
        # As much again as is there: an element of many blocks is not scanned once a block.
        block = self._stream.read(max(_BLOCK, len(self._text) - self._position))
        self._ended = not block
        self._text = self._text[self._position :] + self._decode(block, final=self._ended)
        self._position = 0

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self._path}: not a whole JSON array: line {self.line:,}: {what}")
