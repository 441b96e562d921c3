"""Damage to any file of a checkpoint is found and named; reading it again is the whole of the check."""

import shutil
from pathlib import Path

import pytest
import torch

from megatron_redone.checkpoint.checksums import read_checksums, write_checksums
from megatron_redone.checkpoint.rank_part import RankState
from megatron_redone.checkpoint.record import TrainState, write_record
from megatron_redone.checkpoint.rectangles import Rectangle
from megatron_redone.checkpoint.storage import StoredState
from megatron_redone.checkpoint.values import whole
from megatron_redone.config.verify import VerifyConfig
from megatron_redone.errors import DamageError, UserError
from megatron_redone.stages import verify
from tests.helpers.sharded_saves import save_sharded

PART = Rectangle(key="weight", full_shape=(12, 5), offsets=(0, 0), sizes=(12, 5))


def write(folder: Path, step: int) -> Path:
    folder.mkdir(parents=True)
    state = RankState(values=[whole((PART,), torch.full((12, 5), float(step)))], objects={"x/shard_0_1": step})
    blocks = save_sharded(state, folder)
    (folder / "config.json").write_text("{}")
    write_record(folder, f"step: {step}\n", TrainState(step=step), {"config.json": folder / "config.json"})
    write_checksums(folder, blocks)
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write(tmp_path / "step-00000004", 4)


def test_what_was_lost_while_it_was_written_is_not_sealed(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    blocks = save_sharded(RankState(values=[whole((PART,), torch.ones(12, 5))]), folder)
    file = folder / "__0_0.distcp"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(OSError, match=r"__0_0\.distcp is not what was written"):
        write_checksums(folder, blocks)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        write_checksums(folder, blocks)


def load(folder: Path) -> torch.Tensor:
    values = whole((PART,), torch.zeros(12, 5))
    with StoredState(folder) as stored:
        stored.fill([values])
        assert stored.read_object("x/shard_0_1") == 4
    return values.tensor


def test_a_whole_one_passes(checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert torch.equal(load(checkpoint), torch.full((12, 5), 4.0))
    with caplog.at_level("INFO"):
        verify.run(VerifyConfig(checkpoint=str(checkpoint)))
    names = {str(path.relative_to(checkpoint)) for path in checkpoint.rglob("*") if path.is_file()}
    assert set(read_checksums(checkpoint).files) == names - {"run/checksums.json"} and len(names) == 9
    assert "all as they were written" in caplog.text


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "missing", "of another step"])
def test_every_damaged_file_is_named_by_a_load_and_at_rest(checkpoint: Path, tmp_path: Path, damage: str) -> None:
    other = write(tmp_path / "step-00000006", 6)
    for path in sorted(path for path in checkpoint.rglob("*") if path.is_file()):
        name = path.relative_to(checkpoint)
        copy = Path(shutil.copytree(checkpoint, tmp_path / "copies" / str(name).replace("/", "-")))
        content = bytearray(path.read_bytes())
        if damage == "of another step" and content == (other / name).read_bytes():
            continue
        content[len(content) // 2] ^= 1
        replaced = {"flipped": bytes(content), "cut": content[:-1], "empty": b"", "missing": b""}
        (copy / name).write_bytes(replaced.get(damage, (other / name).read_bytes()))
        if damage == "missing":
            (copy / name).unlink()
        exchanged = damage == "of another step" and path.name == "checksums.json"
        for check in (load, lambda folder: verify.run(VerifyConfig(checkpoint=str(folder)))):
            if path.name == ".metadata" and damage == "missing" and check is not load:
                continue  # a folder without it is taken for that of a run
            with pytest.raises(UserError, match=r"damaged|missing") as caught:
                check(copy)
            assert exchanged or path.name in str(caught.value), (path, caught.value)


def test_a_checkpoint_of_an_earlier_version_has_none_and_is_read(checkpoint: Path) -> None:
    (checkpoint / "run" / "checksums.json").unlink()
    with pytest.raises(DamageError, match=r"checksums\.json: missing"):
        read_checksums(checkpoint)
    (checkpoint / "run" / "state.json").unlink()
    assert not read_checksums(checkpoint).files and torch.equal(load(checkpoint), torch.full((12, 5), 4.0))
    with pytest.raises(UserError, match="has no checksums, so nothing can be said"):
        verify.run(VerifyConfig(checkpoint=str(checkpoint)))
