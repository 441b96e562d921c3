"""JSON lines, plain or compressed with gzip or zstd, whole files or byte ranges of plain ones."""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import orjson

from megatron_redone.errors import UserError
from megatron_redone.formats.input_records import InvalidRecord, InvalidRecordError, RecordBatch
from megatron_redone.formats.inputs import FileRange

_BLOCK = 4 << 20  # bytes of text handled at once
_BOM = b"\xef\xbb\xbf"


def read_json_lines(piece: FileRange, key: str) -> Iterator[RecordBatch]:
    """The records of a piece; see `reader.read_records`."""
    line = 1
    for lines, consumed in read_lines(piece):
        texts, invalid = parse_lines(lines, key, piece.file.path, line)
        yield RecordBatch(texts, invalid, len(lines), consumed)
        line += len(lines)


def parse_lines(lines: list[bytes], key: str, file: str, first_line: int) -> tuple[list[str], list[InvalidRecord]]:
    """The texts of JSON lines, and the lines that have none.

    Args:
        lines: Without their line ends.
        key: The key of a record that holds its text.
        file: The path of their file.
        first_line: The number of the first line.
    """
    try:
        texts = [record[key] for record in map(orjson.loads, lines)]
        # As a method of the class it accepts nothing but strings.
        if all(map(str.strip, texts)):
            return texts, []
    except (ValueError, KeyError, TypeError, IndexError):
        pass
    return _parse_one_by_one(lines, key, file, first_line)


def _parse_one_by_one(
    lines: list[bytes], key: str, file: str, first_line: int
) -> tuple[list[str], list[InvalidRecord]]:
    texts, invalid = [], []
    for number, line in enumerate(lines, first_line):
        try:
            texts.append(_text(line, key))
        except InvalidRecordError as reason:
            invalid.append(InvalidRecord.of(file, number, reason, line))
    return texts, invalid


def _text(line: bytes, key: str) -> str:
    record = parse_object(line)
    if key not in record:
        raise InvalidRecordError(f"no key '{key}'")
    text = record[key]
    if not isinstance(text, str):
        raise InvalidRecordError(f"'{key}' is a {json_type(text)}, not a string")
    if not text.strip():
        raise InvalidRecordError("empty text")
    return text


def parse_object(line: bytes) -> dict[str, Any]:
    """A record from its JSON.

    Raises:
        InvalidRecordError: it is no JSON object.
    """
    if not line.strip():
        raise InvalidRecordError("empty line")
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise InvalidRecordError(why_not_json(line)) from None
    if not isinstance(record, dict):
        raise InvalidRecordError(f"a JSON {json_type(record)}, not an object")
    return record


def to_json(value: Any) -> bytes:
    """A value in JSON, numbers of any length included."""
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer of more than 64 bits
        return json.dumps(value, ensure_ascii=False).encode()


def why_not_json(line: bytes) -> str:
    """Why orjson does not read a line."""
    try:
        line.decode()
    except UnicodeDecodeError:
        return "invalid UTF-8"
    return "malformed JSON"


def json_type(value: Any) -> str:
    """The type of a parsed value in JSON's words."""
    if value is None:
        return "null"
    return {bool: "boolean", str: "string", list: "array", dict: "object"}.get(type(value), "number")


def read_lines(piece: FileRange) -> Iterator[tuple[list[bytes], int]]:
    """Lists of whole lines, each with the stored bytes that reading it took."""
    with piece.file.open() as stored:
        stream = decompressed(piece.file.path, stored)
        position = _seek_to_first_line(stream, piece.start) if piece.start else 0
        counted = piece.start
        rest = b""
        while block := _read(stream, position, piece):
            position += len(block)
            if position == len(block) and block.startswith(_BOM):
                block = block[len(_BOM) :]
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            reached = position if piece.file.is_splittable else stored.tell()
            if lines:
                yield lines, reached - counted
                counted = reached
        # The last line reaches over the end of the range, or has no line end.
        rest += _rest_of_line(stream) if rest and piece.end is not None else b""
        left = max(0, piece.start + piece.size - counted)
        if rest or left:
            yield [rest] if rest else [], left


def decompressed(path: str, stored: BinaryIO) -> Any:
    """A stream of a stored file's content; which compression it has is told by the end of its name."""
    if path.endswith(".gz"):
        return gzip.GzipFile(fileobj=stored)
    if path.endswith(".zst"):
        try:
            import zstandard
        except ImportError:
            raise UserError(f"{path}: reading it needs `pip install 'megatron_redone[data]'`") from None
        return zstandard.ZstdDecompressor().stream_reader(stored, read_across_frames=True)
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
    return start - 1 + len(_rest_of_line(stream)) + 1


def _rest_of_line(stream: BinaryIO) -> bytes:
    """Reads on to the next line end, which is taken but not returned."""
    return stream.readline().removesuffix(b"\n")
