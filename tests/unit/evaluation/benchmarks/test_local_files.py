"""Records of a benchmark's files."""

import json
from pathlib import Path

import pytest

from megatron_redone.errors import UserError
from megatron_redone.evaluation.benchmarks.local_files import read_json_records

RECORDS = [{"text": "a\u2028b\u2029c"}, {"text": "d\x85e\x1ff"}, {"text": "g"}]


@pytest.mark.parametrize("between", ["\n", "\r\n", "\n\n", "\n  \n"])
def test_lines_end_at_line_feeds_alone_and_blank_ones_are_passed_over(tmp_path: Path, between: str) -> None:
    file = tmp_path / "a.jsonl"
    lines = [json.dumps(record, ensure_ascii=False) for record in RECORDS]
    file.write_bytes((between.join(lines) + between).encode())
    assert read_json_records("b", file, ("text",)) == RECORDS
    file.write_text(json.dumps(RECORDS, ensure_ascii=False))
    assert read_json_records("b", file, ("text",)) == RECORDS


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\n \n", "holds no records"),
        ('{"text": 1}\nx\n', "is no JSON"),
        ('{"text": 1}\n\n{}', "record 2 of .* no 'text'"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(UserError, match=reason):
        read_json_records("b", tmp_path / "a.jsonl", ("text",))
