"""Every small file of a checkpoint, cut, empty, flipped or deleted, is named before a tensor is read."""

import shutil
from pathlib import Path

import pytest

from megatron_redone.checkpoint.storage_check import check_storage
from megatron_redone.config.import_hf import ImportHFConfig
from megatron_redone.errors import UserError
from megatron_redone.stages import import_hf
from tests.helpers import hf_folders


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    hf_folders.write(folder / "hf", "qwen2_tied", num_hidden_layers=1)
    import_hf.run(ImportHFConfig(hf=str(folder / "hf"), output=str(folder / "whole")))
    return folder / "whole"


@pytest.fixture
def checkpoint(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def test_a_whole_one_passes(checkpoint: Path) -> None:
    check_storage(checkpoint)


@pytest.mark.parametrize("damage", ["cut", "empty", "deleted", "text"])
@pytest.mark.parametrize("name", [".metadata", "metadata.json", "common.pt"])
def test_damage_is_one_line_with_the_file(checkpoint: Path, name: str, damage: str) -> None:
    file, content = checkpoint / name, (checkpoint / name).read_bytes()
    file.write_bytes({"cut": content[: len(content) // 2], "text": b"[1]"}.get(damage, b""))
    if damage == "deleted":
        file.unlink()
    with pytest.raises(UserError, match=name.replace(".", r"\.")) as caught:
        check_storage(checkpoint)
    assert "\n" not in str(caught.value)


def test_a_missing_tensor_file_is_named(checkpoint: Path) -> None:
    (checkpoint / "__0_0.distcp").unlink()
    with pytest.raises(UserError, match=r"__0_0\.distcp: missing"):
        check_storage(checkpoint)
