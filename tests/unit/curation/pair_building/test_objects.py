"""JSON objects of files, each with its place."""

import gzip
import json
from pathlib import Path

from megatron_redone.curation.pair_building.objects import JsonObject, read_objects
from megatron_redone.formats.input_records import InvalidRecord
from megatron_redone.formats.inputs import expand_inputs

RECORDS = [{"id": number, "text": "好"} for number in range(600)]  # more than are read at once


def test_lines_arrays_and_compressed_files_hold_the_same_objects(tmp_path: Path) -> None:
    lines = "".join(json.dumps(record) + "\n" for record in RECORDS)
    (tmp_path / "a.jsonl").write_text(lines)
    array = ",\n".join(map(json.dumps, RECORDS))
    (tmp_path / "b.json").write_text(f"[{array}]")  # an element is called by the line that it begins on
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    for file in expand_inputs([str(tmp_path)]):
        found = list(read_objects([file]))
        assert [(item.file, item.place) for item in found] == [(file.path, number) for number in range(1, 601)]
        assert [item.fields for item in found if isinstance(item, JsonObject)] == RECORDS
    found = list(read_objects(expand_inputs([str(tmp_path / "c.jsonl.gz"), str(tmp_path / "a.jsonl")])))
    assert [Path(item.file).name for item in found] == ["c.jsonl.gz"] * 600 + ["a.jsonl"] * 600


def test_what_is_no_object_keeps_its_place_and_is_shown(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"id": 1}\n[2]\n{"id": \n\xff\n{"id": 5}\n')
    found = list(read_objects(expand_inputs([str(tmp_path / "a.jsonl")])))
    assert [item.place for item in found] == [1, 2, 3, 4, 5]
    assert [isinstance(item, InvalidRecord) for item in found] == [False, True, True, True, False]
    invalid = [item for item in found if isinstance(item, InvalidRecord)]
    assert [item.excerpt for item in invalid] == ["[2]", '{"id": ', "\ufffd"]
    assert len({item.reason for item in invalid}) == 3
