"""Damage to files is found by their records."""

import dataclasses
from pathlib import Path

import pytest

from megatron_redone.formats import file_record
from megatron_redone.formats.file_record import damage, record_file


@pytest.mark.parametrize("size", [1, 1 << 16, (1 << 20) + 7])
@pytest.mark.parametrize("whole", [True, False])
def test_each_kind_of_damage_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, whole: bool) -> None:
    monkeypatch.setattr(file_record, "_READ_WHOLE", 1 << 30 if whole else 0)
    path = tmp_path / "a.bin"
    content = bytes(i % 251 for i in range(size))
    path.write_bytes(content)
    files = {path: dataclasses.asdict(record_file(path))}
    assert damage(files) == []
    for place in (0, size - 1):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert damage(files) == [f"{path} has other content than was written"]
    path.write_bytes(content[:-1])
    assert damage(files) == [f"{path} has {size - 1:,} bytes, not {size:,}"]
    path.unlink()
    assert damage(files) == [f"{path} is missing"]


def test_of_large_files_blocks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with open(path, "wb") as stream:
        stream.truncate(64 << 20)
    record = record_file(path)
    with open(path, "r+b") as stream:
        stream.seek(1 << 20)  # between the first block and the second
        stream.write(b"x")
    other = record_file(path)
    assert other.sha256 != record.sha256 and other.sample == record.sample
    with open(path, "r+b") as stream:
        stream.seek(((64 << 20) - (64 << 10)) * 7 // 15)
        stream.write(b"x")
    assert record_file(path).sample != record.sample


def test_records_of_earlier_versions_have_no_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text("abc")
    record = {"size": 3, "sha256": record_file(path).sha256}
    assert damage({path: record}) == []
    monkeypatch.setattr(file_record, "_READ_WHOLE", 0)
    assert damage({path: record}) == []
