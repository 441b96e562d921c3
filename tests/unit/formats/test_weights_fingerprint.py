"""What changes the identity of a model's weights, and what does not."""

import os
from pathlib import Path

import pytest

from megatron_redone.errors import UserError
from megatron_redone.formats.folder_checksums import write_folder_checksums
from megatron_redone.formats.weights_fingerprint import weights_fingerprint

SIZE = 1 << 20
LARGE = 64 << 20  # more than is read whole


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(bytes(range(256)) * (SIZE // 256))
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("offset", [0, SIZE // 3, SIZE // 2, SIZE - 1])
def test_a_changed_byte_changes_it(folder: Path, offset: int) -> None:
    before = weights_fingerprint(folder)
    _change(folder / "model.safetensors", offset, 1)
    assert weights_fingerprint(folder) != before


def _change(file: Path, offset: int, length: int) -> None:
    with open(file, "r+b") as stream:
        stream.seek(offset)
        content = stream.read(length)
        stream.seek(offset)
        stream.write(bytes(byte ^ 1 for byte in content))


@pytest.mark.parametrize("sixteenth", range(16))
def test_a_part_that_was_edited_changes_that_of_a_large_file(tmp_path: Path, sixteenth: int) -> None:
    file = tmp_path / "model.safetensors"
    with open(file, "wb") as stream:
        stream.truncate(LARGE)
    before = weights_fingerprint(tmp_path)
    _change(file, sixteenth * LARGE // 16, 5 << 18)  # such as one tensor of a layer
    assert weights_fingerprint(tmp_path) != before


@pytest.mark.parametrize("place", ["checksums.json", "run/checksums.json"])
def test_with_checksums_no_byte_is_too_small(tmp_path: Path, place: str) -> None:
    file, found = tmp_path / "model.safetensors", []
    (tmp_path / place).parent.mkdir(exist_ok=True)
    with open(file, "wb") as stream:
        stream.truncate(LARGE)
    for _ in range(2):
        _change(file, (1 << 20) - 100_000, 1)  # between two blocks
        (tmp_path / place).unlink(missing_ok=True)
        write_folder_checksums(tmp_path, Path(place), {})
        found.append(weights_fingerprint(tmp_path))
    assert found[0] != found[1]


def test_name_and_size_count_and_the_time_does_not(folder: Path) -> None:
    file, before = folder / "model.safetensors", weights_fingerprint(folder)
    os.utime(file, (1, 1))
    assert weights_fingerprint(folder) == before
    (folder / "other.safetensors").write_bytes(b"")
    added = weights_fingerprint(folder)
    assert added != before
    (folder / "other.safetensors").rename(folder / "another.safetensors")
    assert weights_fingerprint(folder) not in (before, added)


def test_files_that_are_no_weights_do_not_count(folder: Path) -> None:
    before = weights_fingerprint(folder)
    (folder / "config.json").write_text('{"a": 1}')
    assert weights_fingerprint(folder) == before


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no weights there"):
        weights_fingerprint(tmp_path)
