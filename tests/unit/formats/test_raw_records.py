"""Records come one by one from JSON arrays, JSON lines and Parquet, with the lines on which they begin."""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.errors import UserError
from megatron_redone.formats.input_records import EXCERPT, InvalidRecordError
from megatron_redone.formats.inputs import cut_file, expand_inputs
from megatron_redone.formats.raw_records import read_raw
from tests.helpers.shared_data import FOLDER, needs_shared_data


def records(path: Path) -> list[tuple[int, Any]]:
    (file,) = expand_inputs([str(path)])
    return [(record.place, json.loads(record.json)) for batch in read_raw(file) for record in batch.records]


def test_every_kind_of_file_gives_the_same_records(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    values = [{"messages": [{"role": "user", "content": f"好 {i}"}], "n": i} for i in range(600)]
    lines = "".join(json.dumps(value) + "\n" for value in values).encode()
    array = json.dumps(values, indent=1).encode()
    files = {"a.jsonl": lines, "a.json": lines, "b.json": array, "c.json.gz": gzip.compress(array)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    pq.write_table(pa.Table.from_pylist(values), tmp_path / "d.parquet")
    for name in (*files, "d.parquet"):
        found = records(tmp_path / name)
        assert [value for _, value in found] == values, name
        assert [number for number, _ in found[:3]] == ([2, 11, 20] if name[0] in "bc" else [1, 2, 3])


def test_a_row_that_cannot_be_read_is_one_invalid_record(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"n": [1, 2, 3], "text": [b"a", b"\xff\xfe", "\u9762".encode()]}), tmp_path / "a.parquet")
    (file,) = expand_inputs([str(tmp_path / "a.parquet")])
    [batch] = read_raw(file)
    first, second, third = batch.records
    assert first.parse() == {"n": 1, "text": "a"} and third.parse() == {"n": 3, "text": "\u9762"}
    assert (second.place, second.json) == (2, b"\xff\xfe")
    with pytest.raises(InvalidRecordError, match=r"^column 'text': invalid UTF-8$"):
        second.parse()


def test_records_that_are_too_large_are_invalid_and_the_others_are_read(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    values = [{"text": "a"}, {"text": "b" * 5000}, {"text": "c"}]
    lines = "".join(json.dumps(value) + "\n" for value in values).encode()
    files = {"a.jsonl": lines, "b.json": json.dumps(values).encode(), "c.jsonl.gz": gzip.compress(lines)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    pq.write_table(pa.Table.from_pylist(values), tmp_path / "d.parquet")
    for file in expand_inputs([str(tmp_path)]):
        [batch] = read_raw(file, 1000)
        assert [batch.records[0].parse(), batch.records[2].parse()] == [values[0], values[2]], file.path
        with pytest.raises(InvalidRecordError, match=r"^a record of more than 0\.000953674 MB$"):
            batch.records[1].parse()
        assert len(batch.records[1].json) <= EXCERPT and [len(batch.records), batch.records[2].place][0] == 3


def test_a_piece_of_an_array_begins_with_the_file_or_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" + ",".join(["{}"] * 50) + "]")
    (file,) = expand_inputs([str(tmp_path / "a.json")])
    found = [list(read_raw(piece)) for piece in cut_file(file, [30, 60])]
    assert len(found[0][0].records) == 50 and found[1:] == [[], []]


def test_integers_of_any_length_arrive(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    number = 123456789012345678901234567890
    pq.write_table(pa.table({"n": [Decimal(number)]}), tmp_path / "a.parquet")
    assert records(tmp_path / "a.parquet") == [(1, {"n": number})]


def test_a_truncated_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(list(range(100_000))).encode())[:-100])
    with pytest.raises(UserError, match="is it truncated"):
        records(tmp_path / "a.json.gz")


@needs_shared_data
@pytest.mark.parametrize("name", ["sft/alpaca_zh_demo.json", "sft/gpteacher_roleplay.json", "dpo/dpo_en_demo.json"])
def test_real_arrays(name: str) -> None:
    assert [value for _, value in records(FOLDER / name)] == json.loads((FOLDER / name).read_text(encoding="utf-8"))
