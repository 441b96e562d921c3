"""Records come one by one from JSON arrays, JSON lines and Parquet, with the lines on which they begin."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.errors import UserError
from megatron_redone.formats.inputs import expand_inputs
from megatron_redone.formats.raw_records import read_raw
from tests.helpers.shared_data import FOLDER, needs_shared_data


def records(path: Path) -> list[tuple[int, Any]]:
    (file,) = expand_inputs([str(path)])
    return [(n, json.loads(r)) for batch in read_raw(file) for n, r in zip(batch.places, batch.records, strict=True)]


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


def test_a_truncated_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(list(range(100_000))).encode())[:-100])
    with pytest.raises(UserError, match="is it truncated"):
        records(tmp_path / "a.json.gz")


@needs_shared_data
@pytest.mark.parametrize("name", ["sft/alpaca_zh_demo.json", "sft/gpteacher_roleplay.json", "dpo/dpo_en_demo.json"])
def test_real_arrays(name: str) -> None:
    assert [value for _, value in records(FOLDER / name)] == json.loads((FOLDER / name).read_text(encoding="utf-8"))
