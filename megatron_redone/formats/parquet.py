"""Rows of Parquet files."""

from collections.abc import Iterator
from typing import Any

from megatron_redone.errors import UserError
from megatron_redone.formats.input_records import InvalidRecord, RecordBatch
from megatron_redone.formats.inputs import FileRange

_ROWS = 8192


def read_rows(piece: FileRange, key: str) -> Iterator[RecordBatch]:
    """The rows of a file; see `reader.read_records`. The place of a record is its row's number, from 1."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError(f"{piece.file.path}: reading it needs `pip install 'megatron_redone[data]'`") from None
    try:
        with piece.file.open() as stored:
            table = pq.ParquetFile(stored)
            _check_column(piece.file.path, table.schema_arrow, key)
            row = 0
            for batch in table.iter_batches(_ROWS, columns=[key]):
                values = batch.column(0).to_pylist()
                fraction = len(values) / table.metadata.num_rows
                yield _to_batch(piece.file.path, values, row + 1, round(piece.size * fraction))
                row += len(values)
    except pa.ArrowException as error:
        raise UserError(f"{piece.file.path}: not a readable Parquet file ({error})") from None


def _check_column(path: str, schema: Any, key: str) -> None:
    import pyarrow as pa

    if key not in schema.names:
        raise UserError(f"{path}: no column '{key}'; it has {', '.join(schema.names)}")
    kind = schema.field(key).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise UserError(f"{path}: column '{key}' holds {kind}, not strings")


def _to_batch(file: str, values: list[str | None], first_row: int, size: int) -> RecordBatch:
    texts, invalid = [], []
    for row, text in enumerate(values, first_row):
        if text is not None and text.strip():
            texts.append(text)
        else:
            invalid.append(InvalidRecord.of(file, row, "no text" if text is None else "empty text", text or ""))
    return RecordBatch(texts, invalid, len(values), size)
