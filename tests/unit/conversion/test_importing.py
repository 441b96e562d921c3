"""What an imported checkpoint says of itself, pickled weights, and folders that are not what they say."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from megatron_redone.checkpoint.record import read_state
from megatron_redone.config.export_hf import ExportHFConfig
from megatron_redone.config.import_hf import ImportHFConfig
from megatron_redone.errors import UserError
from megatron_redone.stages import export_hf, import_hf
from tests.helpers import hf_folders
from tests.helpers.round_trips import convert, edit_config


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hf_folders.write(tmp_path_factory.mktemp("models") / "hf", "qwen2_untied")


def test_an_imported_checkpoint_says_what_it_is(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path)
    state = read_state(tmp_path / "checkpoint")
    assert state.step == 0 and state.data == {"imported_from": str(source)}


def test_pickled_weights_need_a_flag(source: Path, tmp_path: Path) -> None:
    pickled = Path(shutil.copytree(source, tmp_path / "pickled", ignore=shutil.ignore_patterns("*.safetensors*")))
    torch.save(hf_folders.tensors(source), pickled / "pytorch_model.bin")
    with pytest.raises(UserError, match="allow_pickle=true"):
        import_hf.run(ImportHFConfig(hf=str(pickled), output=str(tmp_path / "ck")))
    import_hf.run(ImportHFConfig(hf=str(pickled), output=str(tmp_path / "ck"), allow_pickle=True))
    export_hf.run(ExportHFConfig(checkpoint=str(tmp_path / "ck"), output=str(tmp_path / "out")))
    hf_folders.assert_same(hf_folders.tensors(source), hf_folders.tensors(tmp_path / "out"))


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("code was run",)


def test_code_in_a_pickle_is_not_run(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pickled = Path(shutil.copytree(source, tmp_path / "pickled", ignore=shutil.ignore_patterns("*.safetensors*")))
    torch.save({"model.norm.weight": _Evil()}, pickled / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be read as weights alone"):
        import_hf.run(ImportHFConfig(hf=str(pickled), output=str(tmp_path / "ck"), allow_pickle=True))
    assert "code was run" not in capsys.readouterr().out


def shard(folder: Path) -> Path:
    return sorted(folder.glob("model-*.safetensors"))[1]


def truncate(folder: Path) -> None:
    file = shard(folder)
    file.write_bytes(file.read_bytes()[:-100])


def add_tensor(folder: Path) -> None:
    single = hf_folders.tensors(folder)
    for file in folder.glob("model*"):
        file.unlink()
    save_file({**single, "model.layers.0.mlp.extra.weight": torch.zeros(2)}, folder / "model.safetensors")


MISTAKES: dict[str, tuple[Any, str]] = {
    "unknown architecture": (
        lambda folder: edit_config(folder, model_type="gpt_neox"),
        "model_type 'gpt_neox' is not supported; supported are llama, mistral, qwen2, qwen3",
    ),
    "missing shard": (lambda folder: shard(folder).unlink(), "the shard model-00002-of-"),
    "truncated safetensors": (truncate, "truncated or damaged"),
    "other shape": (
        lambda folder: edit_config(folder, intermediate_size=128),
        "gate_proj.weight is 96 x 64, config.json says 128 x 64",
    ),
    "missing tensor": (
        lambda folder: edit_config(folder, num_hidden_layers=5, layer_types=None),
        "its weights hold 4 layers, config.json says num_hidden_layers 5",
    ),
    "unknown tensor": (add_tensor, "model.layers.0.mlp.extra.weight is there"),
    "no weights": (lambda folder: [file.unlink() for file in folder.glob("model*")], "no model.safetensors"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_are_told_and_leave_nothing(what: str, source: Path, tmp_path: Path) -> None:
    spoil, message = MISTAKES[what]
    folder = Path(shutil.copytree(source, tmp_path / "hf"))
    spoil(folder)
    with pytest.raises(UserError) as error:
        import_hf.run(ImportHFConfig(hf=str(folder), output=str(tmp_path / "ck")))
    assert message in str(error.value) and "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]
