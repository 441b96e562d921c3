"""Any part of a record is read; what is not as it was written is not taken."""

import re
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.metadata import MetadataIndex

from megatron_redone.checkpoint import chunk_reader
from megatron_redone.checkpoint.chunk_reader import ChunkReader
from megatron_redone.checkpoint.chunk_writer import ChunkWriter
from megatron_redone.checkpoint.metadata_file import read_metadata, write_metadata
from megatron_redone.checkpoint.rectangles import Rectangle
from megatron_redone.errors import UserError

VALUES = torch.arange(60.0).view(1, 12, 5)


@pytest.fixture
def reader(tmp_path: Path) -> ChunkReader:
    rectangle = Rectangle(key="a", full_shape=(1, 12, 5), offsets=(0, 0, 0), sizes=(1, 12, 5))
    with ChunkWriter(tmp_path / "__0_0.distcp") as writer:
        writer.write(rectangle, VALUES.flatten())
    write_metadata(tmp_path, writer.records)
    checksums = {(record.file, record.start): record.checksum for record in writer.records}
    return ChunkReader(tmp_path, read_metadata(tmp_path).storage_data, checksums)


INDEX = MetadataIndex("a", (0, 0, 0), 0)


@pytest.mark.parametrize("whole", [1 << 20, 0])
def test_any_part_is_read(reader: ChunkReader, monkeypatch: pytest.MonkeyPatch, whole: int) -> None:
    monkeypatch.setattr(chunk_reader, "_WHOLE", whole)
    monkeypatch.setattr(chunk_reader, "_PIECE", 64)
    for rows, columns in ((slice(0, 12), slice(0, 5)), (slice(3, 11), slice(1, 3)), (slice(11, 12), slice(4, 5))):
        part = slice(0, 1), rows, columns
        target = torch.zeros(14, 7)[None, 1 : 1 + rows.stop - rows.start, 2 : 2 + columns.stop - columns.start]
        reader.read(INDEX, (1, 12, 5), part, target)
        assert torch.equal(target, VALUES[part])


@pytest.mark.parametrize("whole", [1 << 20, 0])
def test_a_flipped_bit_is_found(
    reader: ChunkReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: int
) -> None:
    monkeypatch.setattr(chunk_reader, "_WHOLE", whole)
    file = tmp_path / "__0_0.distcp"
    content = bytearray(file.read_bytes())
    content[content.index(VALUES.numpy().tobytes()) + 100] ^= 4
    file.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(f"{file}: missing, truncated or damaged (a: its bytes from 0 on")):
        reader.read(INDEX, (1, 12, 5), (slice(0, 1), slice(0, 1), slice(0, 5)), torch.zeros(1, 1, 5))


def test_a_record_that_is_too_short_for_its_numbers_is_told(reader: ChunkReader) -> None:
    with pytest.raises(UserError, match="fewer numbers"):
        reader.read(INDEX, (1, 500, 5), (slice(0, 1), slice(0, 1), slice(0, 5)), torch.zeros(1, 1, 5))
