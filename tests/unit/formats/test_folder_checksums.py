"""A part of a file is compared when it is read, and each block once."""

import os
from pathlib import Path

import pytest
import xxhash

from megatron_redone.errors import DamageError
from megatron_redone.formats.folder_checksums import (
    BlockHasher,
    FolderChecksums,
    read_folder_checksums,
    write_folder_checksums,
)

PLACE = Path("checksums.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    content = os.urandom(2500)
    hasher = BlockHasher(1000)
    for at in range(0, len(content), 300):
        hasher.update(content[at : at + 300])
    (tmp_path / "a.safetensors").write_bytes(content)
    (tmp_path / "config.json").write_text("{}")
    write_folder_checksums(tmp_path, PLACE, {"a.safetensors": hasher.finish()})
    return tmp_path


def opened(folder: Path) -> FolderChecksums:
    return read_folder_checksums(folder, PLACE, "write it again")


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 8
    file.write_bytes(content)


def test_blocks_are_those_of_the_library(folder: Path) -> None:
    content = (folder / "a.safetensors").read_bytes()
    expected = {("a.safetensors", at): xxhash.xxh3_64_intdigest(content[at : at + 1000]) for at in (0, 1000, 2000)}
    assert expected.items() <= opened(folder).of_blocks().items() and opened(folder).check_all() == 2502


def test_a_part_is_compared_alone(folder: Path) -> None:
    flip(folder / "a.safetensors", 1999)
    checksums = opened(folder)
    checksums.check_small_files()
    for start, stop in [(0, 1000), (2000, 2500), (1000, 1000)]:
        checksums.check_part("a.safetensors", start, stop)
    for start, stop in [(999, 1001), (1999, 2000), (0, 2500)]:
        with pytest.raises(DamageError, match=r"a\.safetensors: damaged \(its bytes from 1,000 on .* write it again"):
            checksums.check_part("a.safetensors", start, stop)
    with pytest.raises(DamageError, match=r"from 1,000 on"):
        checksums.check_all()


def test_small_files_and_sizes_are_compared_at_once(folder: Path) -> None:
    os.truncate(folder / "a.safetensors", 2499)
    with pytest.raises(DamageError, match=r"a\.safetensors: damaged \(it has 2,499 bytes, not 2,500\)"):
        opened(folder).check_small_files()
    flip(folder / "config.json", 0)
    with pytest.raises(DamageError, match=r"config\.json: damaged"):
        opened(folder).check_small_files()


def test_the_checksums_themselves(folder: Path) -> None:
    flip(folder / PLACE, 60)
    with pytest.raises(DamageError, match=r"checksums\.json: missing or damaged; write it again"):
        opened(folder)
