"""Records are what torch.save would have written, byte for byte where they lie; their checksums are XXH3's."""

import io
from pathlib import Path

import torch
import xxhash

from megatron_redone.checkpoint.chunk_writer import ChunkWriter
from megatron_redone.checkpoint.rectangles import Rectangle


def test_each_record_is_read_by_torch_and_has_its_checksum(tmp_path: Path) -> None:
    memory = torch.arange(40).bfloat16()
    rectangle = Rectangle(key="a", full_shape=(9, 4), offsets=(2, 0), sizes=(5, 4), first=17)
    with ChunkWriter(tmp_path / "file") as writer:
        writer.write(rectangle, memory[10:30])
        writer.write_object("b", {"scale": torch.ones(2)})
        writer.flush()
    content = (tmp_path / "file").read_bytes()
    first, second = writer.records
    assert (first.key, first.offsets, first.sizes, first.full_shape, first.dtype) == (
        "a",
        (2, 0),
        (5, 4),
        (9, 4),
        "bfloat16",
    )
    assert (second.key, second.offsets, second.file) == ("b", None, "file")
    assert first.length + second.length == len(content) and second.start == first.length
    for record in writer.records:
        own = content[record.start : record.start + record.length]
        assert xxhash.xxh3_64_intdigest(own) == record.checksum
    read = torch.load(io.BytesIO(content[: first.length]), weights_only=True)
    assert torch.equal(read, memory[10:30].view(5, 4))
    assert read.untyped_storage().nbytes() == 40, "of the memory around nothing is written"
    [saved] = torch.load(io.BytesIO(content[first.length :]), weights_only=True)
    assert torch.equal(saved["scale"], torch.ones(2))


def test_large_rectangles_are_cut_into_blocks_of_rows(tmp_path: Path) -> None:
    rows = torch.zeros(5 << 20, dtype=torch.float32)
    rectangle = Rectangle(key="a", full_shape=(1, 5, 1 << 20), offsets=(0, 0, 0), sizes=(1, 5, 1 << 20))
    with ChunkWriter(tmp_path / "file") as writer:
        writer.write(rectangle, rows)
    assert [(record.offsets, record.sizes) for record in writer.records] == [
        ((0, 0, 0), (1, 4, 1 << 20)),
        ((0, 4, 0), (1, 1, 1 << 20)),
    ]
