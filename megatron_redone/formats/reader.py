"""Reads the records of an input file, whatever its kind."""

from collections.abc import Iterator

from megatron_redone.formats.input_records import RecordBatch
from megatron_redone.formats.inputs import FileRange
from megatron_redone.formats.jsonl import read_json_lines
from megatron_redone.formats.parquet import read_column


def read_records(piece: FileRange, key: str) -> Iterator[RecordBatch]:
    """The records of a piece, some megabytes at a time.

    Args:
        piece: Where to read.
        key: The key (or the Parquet column) that holds the text.

    Raises:
        UserError: the file itself is damaged or has no such column.
    """
    return read_column(piece, key) if piece.file.is_parquet else read_json_lines(piece, key)
