"""Rows of Parquet files: whole ones, or the texts of one column."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from megatron_redone.errors import UserError
from megatron_redone.formats.arrow_values import UnreadableValue, holds_text, null_fields, read_each
from megatron_redone.formats.input_records import InvalidRecord, RecordBatch
from megatron_redone.formats.inputs import FileRange, InputFile

log = logging.getLogger(__name__)

# Rows read at once, fewer where they are large.
_ROWS = 8192
_WHOLE_ROWS = 256
_BYTES = 16 << 20
_NULL_FIELDS_SHOWN = 5


def read_rows(file: InputFile, most_bytes: int) -> Iterator[dict[str, Any] | UnreadableValue]:
    """The rows of a file in order, as `arrow_values` reads them, or why one cannot be read.

    Args:
        file: It.
        most_bytes: Of a row as Arrow holds it; a larger one is not read.

    Raises:
        UserError: the file is damaged.
    """
    with _open(file) as table:
        _tell_null_fields(file.path, table.schema_arrow)
        for batch in table.iter_batches(_rows_at_once(table, _WHOLE_ROWS)):
            yield from read_each(batch.to_struct_array(), "", most_bytes)


def read_column(piece: FileRange, key: str, most_bytes: int) -> Iterator[RecordBatch]:
    """The texts of a column; see `reader.read_records`. The place of a record is its row's number, from 1."""
    path = piece.file.path
    with _open(piece.file) as table:
        _check_column(path, table.schema_arrow, key)
        row = 0
        for batch in table.iter_batches(_rows_at_once(table, _ROWS), columns=[key]):
            values = read_each(batch.column(0), key, most_bytes)
            fraction = len(values) / table.metadata.num_rows
            yield _to_batch(path, key, values, row + 1, round(piece.size * fraction))
            row += len(values)


@contextmanager
def _open(file: InputFile) -> Iterator[Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError(f"{file.path}: reading it needs `pip install 'megatron_redone[data]'`") from None
    with file.open() as stored:
        try:
            yield pq.ParquetFile(stored)
        except (pa.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{file.path}: not a readable Parquet file ({reason})") from None


def _rows_at_once(table: Any, most: int) -> int:
    """As many as take some megabytes, by the sizes that the file gives for its row groups."""
    groups = [table.metadata.row_group(number) for number in range(table.metadata.num_row_groups)]
    largest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    return max(1, min(most, _BYTES // max(largest, 1)))


def _check_column(path: str, schema: Any, key: str) -> None:
    if key not in schema.names:
        raise UserError(f"{path}: no column '{key}'; it has {', '.join(schema.names)}")
    kind = schema.field(key).type
    if not holds_text(kind):
        raise UserError(f"{path}: column '{key}' holds {kind}, not strings")


def _tell_null_fields(path: str, schema: Any) -> None:
    found = [name for column in schema for name in null_fields(column.type, column.name)]
    if found:
        log.warning(
            "%s: %s hold nothing but null, which in a struct stands for a key that is not there; "
            "to keep such nulls, store the column as JSON text",
            path,
            ", ".join(found[:_NULL_FIELDS_SHOWN]) + (" and others" if len(found) > _NULL_FIELDS_SHOWN else ""),
        )


def _to_batch(file: str, key: str, values: list[Any], first_row: int, size: int) -> RecordBatch:
    texts, invalid = [], []
    for row, text in enumerate(values, first_row):
        if isinstance(text, UnreadableValue):
            invalid.append(InvalidRecord.of(file, row, text, text.excerpt))
        elif text is not None and text.strip():
            texts.append(text)
        else:
            reason = f"no key '{key}'" if text is None else "empty text"
            invalid.append(InvalidRecord.of(file, row, reason, text or ""))
    return RecordBatch(texts, invalid, len(values), size)
