"""Rows of Parquet files, which pyarrow wrote."""

from pathlib import Path
from typing import Any

import pytest

from megatron_redone.errors import UserError
from megatron_redone.formats import parquet
from megatron_redone.formats.input_records import MOST_BYTES, InvalidRecord
from megatron_redone.formats.inputs import FileRange, expand_inputs
from megatron_redone.formats.parquet import read_column, read_rows

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def read(pieces: list[FileRange]) -> tuple[list[str], list[InvalidRecord], int]:
    batches = [batch for piece in pieces for batch in read_column(piece, "text", MOST_BYTES)]
    texts = [text for batch in batches for text in batch.texts]
    return texts, [r for batch in batches for r in batch.invalid], sum(batch.bytes for batch in batches)


def whole(path: Path) -> list[FileRange]:
    return [FileRange(file) for file in expand_inputs([str(path)])]


def test_parquet_nulls_and_empties_are_invalid(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", None, " ", "b"]}), tmp_path / "a.parquet")
    texts, invalid, _ = read(whole(tmp_path / "a.parquet"))
    assert texts == ["a", "b"] and [(r.place, r.reason) for r in invalid] == [(2, "no key 'text'"), (3, "empty text")]


def test_parquet_columns_are_checked(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["a"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": [1]}), tmp_path / "b.parquet")
    with pytest.raises(UserError, match="no column 'text'; it has body"):
        read(whole(tmp_path / "a.parquet"))
    with pytest.raises(UserError, match="holds int64, not strings"):
        read(whole(tmp_path / "b.parquet"))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_strings_of_every_kind_come_in_their_order_over_batches(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_ROWS", 7)
    values = [None if i == 40 else f"post {i}" for i in range(50)]
    pq.write_table(pa.table({"text": pa.array(values, kind)}), tmp_path / "a.parquet", row_group_size=16)
    texts, invalid, size = read(whole(tmp_path / "a.parquet"))
    assert texts == [value for value in values if value is not None]
    assert [record.place for record in invalid] == [41]
    assert size == pytest.approx((tmp_path / "a.parquet").stat().st_size, abs=10)


def test_texts_are_read_from_bytes_too_and_those_that_are_none_are_invalid(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [b"a", "潮".encode(), b"\xff\xfe"]}), tmp_path / "a.parquet")
    texts, invalid, _ = read(whole(tmp_path / "a.parquet"))
    assert texts == ["a", "潮"]
    assert [(r.place, r.reason, r.excerpt) for r in invalid] == [(3, "column 'text': invalid UTF-8", "\ufffd\ufffd")]


def test_rows_have_the_keys_that_their_records_had(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"a": 1, "f": {"x": 1}}, {"b": [{"y": "u"}], "f": {"z": True}}, {"f": {}}]
    inner = pa.struct([("x", pa.int8()), ("z", pa.bool_())])
    schema = pa.schema([("a", pa.int8()), ("b", pa.list_(pa.struct([("y", pa.string())]))), ("f", inner)])
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "a.parquet")
    (file,) = expand_inputs([str(tmp_path / "a.parquet")])
    assert list(read_rows(file, MOST_BYTES)) == rows and not caplog.records


def test_nulls_that_somebody_must_have_written_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pq.write_table(pa.table({"tools": [[{"name": "f", "default": None}]]}), tmp_path / "a.parquet")
    (file,) = expand_inputs([str(tmp_path / "a.parquet")])
    assert list(read_rows(file, MOST_BYTES)) == [{"tools": [{"name": "f"}]}]
    assert "a.parquet: tools.default hold nothing but null" in caplog.text


def test_rows_of_a_damaged_file_stop_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["abc" * 1000] * 1000}), path, use_dictionary=False, compression="gzip")
    content = bytearray(path.read_bytes())
    content[4:400] = b"\0" * 396
    path.write_bytes(content)
    (file,) = expand_inputs([str(path)])
    with pytest.raises(UserError, match=r"a\.parquet: not a readable Parquet file \([^\n]*\)$"):
        list(read_rows(file, MOST_BYTES))
