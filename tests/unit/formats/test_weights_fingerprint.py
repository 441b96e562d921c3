"""What changes the identity of a model's weights, and what does not."""

import os
from pathlib import Path

import pytest

from megatron_redone.errors import UserError
from megatron_redone.formats.weights_fingerprint import weights_fingerprint

SIZE = 1 << 20  # more than the three samples of a file together


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(bytes(range(256)) * (SIZE // 256))
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_stored_fingerprints_stay_valid(folder: Path) -> None:
    """Reference scores keep it: another algorithm would refuse all of them."""
    assert weights_fingerprint(folder) == "79d58a7fdb183387"


@pytest.mark.parametrize("offset", [0, SIZE // 2, SIZE - 1])
def test_a_changed_byte_at_a_sample_changes_it(folder: Path, offset: int) -> None:
    before = weights_fingerprint(folder)
    with open(folder / "model.safetensors", "r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ 1]))
    assert weights_fingerprint(folder) != before


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
