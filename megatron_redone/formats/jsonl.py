"""JSON lines, plain or compressed with gzip or zstd, whole files or byte ranges of plain ones."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from megatron_redone.errors import UserError
from megatron_redone.formats.inputs import FileRange
from megatron_redone.formats.zstd_frames import ZstdFrames

_BLOCK = 4 << 20  # bytes of text handled at once
_LINE_BLOCK = 1 << 16  # where only the end of a line is looked for


def read_lines(piece: FileRange, most_bytes: int) -> Iterator[tuple[list[bytes], int]]:
    """Lists of whole lines, each with the stored bytes that reading it took.

    Args:
        piece: Where to read.
        most_bytes: Of a line; a longer one is cut one byte after them, so that no line needs more memory.
    """
    with piece.file.open() as stored:
        stream = decompressed(piece.file.path, stored)
        position = _seek_to_first_line(stream, piece.start) if piece.start else 0
        counted = piece.start
        rest = b""
        while block := _read(stream, position, piece):
            position += len(block)
            lines = _lines_of(rest, block, most_bytes)
            rest = lines.pop()[: most_bytes + 1]
            reached = position if piece.file.is_splittable else stored.tell()
            if lines:
                yield lines, reached - counted
                counted = reached
        # The last line reaches over the end of the range, or has no line end.
        rest += _rest_of_line(stream, most_bytes)[0] if rest and piece.end is not None else b""
        left = max(0, piece.start + piece.size - counted)
        if rest or left:
            yield [rest] if rest else [], left


def _lines_of(rest: bytes, block: bytes, most_bytes: int) -> list[bytes]:
    """The lines of a block behind what came before it; the last one is not whole."""
    if len(rest) <= most_bytes:
        return (rest + block).split(b"\n")
    _, end, others = block.partition(b"\n")  # too long already: what follows of it is passed over
    return [rest, *others.split(b"\n")] if end else [rest]


def decompressed(path: str, stored: BinaryIO) -> Any:
    """A stream of a stored file's content; which compression it has is told by the end of its name."""
    if path.endswith(".gz"):
        return gzip.GzipFile(fileobj=stored)
    if path.endswith(".zst"):
        try:
            import zstandard
        except ImportError:
            raise UserError(f"{path}: reading it needs `pip install 'megatron_redone[data]'`") from None
        return ZstdFrames(stored, zstandard.ZstdDecompressor())
    return stored


def _read(stream: Any, position: int, piece: FileRange) -> bytes:
    size = _BLOCK if piece.end is None else min(_BLOCK, piece.end - position)
    if size <= 0:
        return b""
    with reading_errors(piece.file.path):
        return stream.read(size)


@contextmanager
def reading_errors(path: str) -> Iterator[None]:
    """Turns what reading a damaged compressed file raises into a UserError."""
    try:
        yield
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read, is it truncated? ({error})") from None
    except Exception as error:  # zstandard has an exception of its own
        if type(error).__name__ != "ZstdError":
            raise
        raise UserError(f"{path}: damaged zstd data ({error})") from None


def _seek_to_first_line(stream: BinaryIO, start: int) -> int:
    """Puts a plain file to the first line that begins at `start` or later; returns where that is."""
    stream.seek(start - 1)
    _, length = _rest_of_line(stream, 0)
    return stream.seek(start - 1 + length)


def _rest_of_line(stream: BinaryIO, most_bytes: int) -> tuple[bytes, int]:
    """Reads on past the next line end: the beginning of what stands before it, and the length of all with it."""
    kept, length = b"", 0
    while block := stream.read(_LINE_BLOCK):
        line, end, _ = block.partition(b"\n")
        kept += line[: max(0, most_bytes + 1 - len(kept))]
        length += len(line) + len(end)
        if end:
            break
    return kept, length
