"""Records of a file that holds one JSON array, as LLaMA-Factory's data does; read piece by piece.

The elements keep their bytes, and only their borders are looked for here: what one means, and whether it is JSON at
all, is for the caller to see, so that one bad element costs one record. A parser that hands on values would not do:
ijson's makes `?` of half an emoji, and gives up the file for a number of twenty digits or one byte that is not UTF-8.
"""

import re
from collections.abc import Iterator
from typing import Any

from megatron_redone.errors import UserError

_BLOCK = 1 << 20  # bytes read at once
_WHITESPACE = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_REST_OF_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_BORDER = re.compile(rb'["\[\]{},]')


def read_array(stream: Any, path: str, most_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The elements of the array and the lines on which they begin, from 1.

    Args:
        stream: Of bytes, decompressed.
        path: Of the file, for messages.
        most_bytes: Of an element; a longer one is cut one byte after them.

    Raises:
        UserError: the file is not one whole JSON array.
    """
    text = _Text(stream, path)
    text.expect(b"[")
    is_first = True
    while not (is_first and text.next_byte() == b"]"):
        is_first = False
        text.next_byte()
        line = text.line
        yield line, text.element(most_bytes)
        if text.next_byte() == b"]":
            break
        text.expect(b",")
    text.expect(b"]")
    text.expect_end()


class _Text:
    """The part of the file that is being looked at.

    Attributes:
        line: Of the next byte.
    """

    def __init__(self, stream: Any, path: str) -> None:
        self._stream = stream
        self._path = path
        self._block = b""
        self._position = 0
        self.line = 1
        while len(self._block) < len(_BOM) and self._read_on():
            pass
        self._position = len(_BOM) if self._block.startswith(_BOM) else 0

    def next_byte(self) -> bytes:
        """The next one that is not white space, left where it is."""
        if found := self._next_or_end():
            return found
        raise self._damaged("it ends too early")

    def expect(self, byte: bytes) -> None:
        """Goes past a byte."""
        found = self.next_byte()
        if found != byte:
            shown = found.decode(errors="replace")
            raise self._damaged(f"'{byte.decode()}' was expected, not {shown!r}")
        self._position += 1

    def expect_end(self) -> None:
        """Makes sure that nothing follows."""
        if self._next_or_end():
            raise self._damaged("something follows after the end of the array")

    def element(self, most_bytes: int) -> bytes:
        """Goes past one value, and returns its bytes, at most one more than allowed."""
        line = self.line
        kept = bytearray()
        scan = _ElementScan()
        while True:
            start = self._position
            is_whole, self._position = scan.go_on(self._block, start)
            taken = self._block[start : self._position]
            self.line += taken.count(b"\n")
            kept += taken[: most_bytes + 1 - len(kept)]
            if is_whole:
                break
            if not self._read_on():
                self.line = line
                raise self._damaged("the element that begins there does not end")
        if not kept.strip(_WHITESPACE):
            raise self._damaged("an element was expected")
        return bytes(kept) if len(kept) > most_bytes else bytes(kept).rstrip(_WHITESPACE)

    def _next_or_end(self) -> bytes:
        while True:
            rest = self._block[self._position :]
            skipped = len(rest) - len(rest.lstrip(_WHITESPACE))
            self.line += rest.count(b"\n", 0, skipped)
            self._position += skipped
            if self._position < len(self._block):
                return self._block[self._position : self._position + 1]
            if not self._read_on():
                return b""

    def _read_on(self) -> bool:
        block = self._stream.read(_BLOCK)
        self._block = self._block[self._position :] + block
        self._position = 0
        return bool(block)

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self._path}: not a whole JSON array: line {self.line:,}: {what}")


class _ElementScan:
    """Looks for the end of a value: the bracket or quote that closes it or, of a number, what follows it."""

    def __init__(self) -> None:
        self._depth = 0
        self._is_in_string = False

    def go_on(self, block: bytes, position: int) -> tuple[bool, int]:
        """Whether the value ends in this block, and up to where it was looked at."""
        while True:
            if self._is_in_string:
                found = _REST_OF_STRING.match(block, position)
                assert found is not None, "an empty match is one"
                position = found.end()
                if block[position : position + 1] != b'"':  # at the end of the block, or before a last backslash
                    return False, position
                position += 1
                self._is_in_string = False
                if self._depth == 0:
                    return True, position
            border = _BORDER.search(block, position)
            if border is None:
                return False, len(block)
            if self._depth == 0 and border.group() in (b",", b"]", b"}"):
                return True, border.start()
            position = border.end()
            if self._passes(border.group()):
                return True, position

    def _passes(self, border: bytes) -> bool:
        """Takes note of a border; returns whether it closes the value."""
        self._is_in_string = border == b'"'
        self._depth += (border in b"[{") - (border in b"]}")
        return self._depth == 0 and border in b"]}"
