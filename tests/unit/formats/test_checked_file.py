"""Every byte of a file and of its checksums is looked at by a read that needs it, and the damaged one is named."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import xxhash

from megatron_redone.errors import DamageError
from megatron_redone.formats.block_checksums import BLOCK_BYTES, BlockChecksumWriter, checksums_path
from megatron_redone.formats.checked_file import CheckedFile

SIZE = 513 * BLOCK_BYTES + 77  # two pages of checksums, and a last block that is not full


def write(path: Path, content: bytes) -> Path:
    writer, at = BlockChecksumWriter(path), 0
    for size in (1, BLOCK_BYTES, 5, 3 * BLOCK_BYTES, len(content)):
        writer.update(content[at : at + size])
        at += size
    assert writer.finish() == hashlib.sha256(content).hexdigest()
    writer.put_in_place()
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def content() -> bytes:
    return np.random.default_rng(0).integers(0, 256, SIZE, np.uint8).tobytes()


def test_reads_give_what_was_written_and_checksums_are_those_of_the_library(tmp_path: Path, content: bytes) -> None:
    with CheckedFile(write(tmp_path / "a", content)) as file:
        for start, count in [(0, 10), (5, 0), (BLOCK_BYTES - 1, 2), (SIZE - 3, 3), (100, 3 * BLOCK_BYTES), (0, SIZE)]:
            assert bytes(file.read(start, count)) == content[start : start + count]
        file.check_all()
        assert file.checksums is not None and file.checksums.sha256 == hashlib.sha256(content).hexdigest()
        blocks = [content[at : at + BLOCK_BYTES] for at in range(0, SIZE, BLOCK_BYTES)]
        assert file.checksums.of_blocks(0, len(blocks)) == [xxhash.xxh3_64_intdigest(block) for block in blocks]
    assert checksums_path(tmp_path / "a").stat().st_size < SIZE // 1000


def test_an_empty_file_and_one_without_checksums(tmp_path: Path, content: bytes) -> None:
    with CheckedFile(write(tmp_path / "empty", b"")) as file:
        assert bytes(file.read(0, 0)) == b""
        file.check_all()
    (tmp_path / "bare").write_bytes(content)
    with CheckedFile(tmp_path / "bare") as file:
        assert bytes(file.read(7, 100)) == content[7:107] and file.checksums is None


@pytest.mark.parametrize("at", [0, BLOCK_BYTES, 511 * BLOCK_BYTES, SIZE - 1])
def test_a_flipped_bit_is_found_by_a_read_of_its_block_alone(tmp_path: Path, content: bytes, at: int) -> None:
    damaged = bytearray(content)
    damaged[at] ^= 4
    write(tmp_path / "a", content).write_bytes(damaged)
    with CheckedFile(tmp_path / "a") as file:
        other = BLOCK_BYTES if at != BLOCK_BYTES else 0
        assert bytes(file.read(other, 9)) == content[other : other + 9]
        for read in (lambda: file.read(at, 1), file.check_all):
            with pytest.raises(DamageError, match=rf"/a: damaged \(its bytes from {at - at % BLOCK_BYTES:,} on"):
                read()


@pytest.mark.parametrize("at", [0, 4095, 4096, 2 * 4096, 2 * 4096 + 8, 2 * 4096 + 20, -1])
def test_damaged_checksums_are_named_themselves(tmp_path: Path, content: bytes, at: int) -> None:
    path = write(tmp_path / "a", content)
    damaged = bytearray(checksums_path(path).read_bytes())
    damaged[at] ^= 1
    for bad in (bytes(damaged), bytes(damaged[:-8]), b""):
        checksums_path(path).write_bytes(bad)
        with pytest.raises(DamageError, match=r"a\.xxh3: damaged"), CheckedFile(path) as file:
            file.check_all()


def test_checksums_of_a_file_of_another_size_are_refused(tmp_path: Path, content: bytes) -> None:
    write(tmp_path / "a", content).write_bytes(content[:-1])
    with pytest.raises(DamageError, match=r"but a\.xxh3 is of a file of"):
        CheckedFile(tmp_path / "a")
