"""A checkpoint is compared with a directory tensor by tensor; one number that differs is found and named."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from megatron_redone.architectures import read_architecture
from megatron_redone.config.import_hf import ImportHFConfig
from megatron_redone.conversion.mcore_reader import CheckpointWeights
from megatron_redone.conversion.weight_comparison import WeightDifference, compare_weights
from megatron_redone.errors import UserError
from megatron_redone.model_folders.hf_reader import HFWeights
from megatron_redone.stages import import_hf
from tests.helpers import hf_models


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A directory of one file, and its checkpoint."""
    folder = tmp_path_factory.mktemp("models")
    hf_models.hf_model("qwen2_untied", num_hidden_layers=2).save_pretrained(folder / "hf")
    import_hf.run(ImportHFConfig(hf=str(folder / "hf"), output=str(folder / "ck")))
    return folder / "hf", folder / "ck"


def compare(hf: Path, checkpoint: Path) -> WeightDifference:
    shape = read_architecture(hf)
    return compare_weights(CheckpointWeights(checkpoint), HFWeights(hf, shape), shape)


def changed(hf: Path, folder: Path, changes: dict[str, tuple[tuple[int, ...], float]]) -> Path:
    """A copy with some numbers raised by an amount."""
    tensors = load_file(hf / "model.safetensors")
    for name, (place, amount) in changes.items():
        tensors[name][place] += amount
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_bytes((hf / "config.json").read_bytes())
    return folder


def test_the_same_weights_do_not_differ(folders: tuple[Path, Path]) -> None:
    hf, checkpoint = folders
    tensors = len(load_file(hf / "model.safetensors"))
    assert compare(hf, checkpoint) == WeightDifference(tensors=tensors, differing=0, first=None, largest=0.0)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("model.embed_tokens.weight", (499, 63)),
        ("model.layers.1.self_attn.k_proj.weight", (31, 0)),
        ("model.layers.0.self_attn.v_proj.bias", (17,)),
        ("model.layers.1.mlp.up_proj.weight", (0, 5)),
        ("model.layers.1.mlp.down_proj.weight", (63, 95)),
    ],
)
def test_one_number_is_found(folders: tuple[Path, Path], name: str, place: tuple[int, ...], tmp_path: Path) -> None:
    found = compare(changed(folders[0], tmp_path / "hf", {name: (place, -0.5)}), folders[1])
    assert (found.differing, found.first) == (1, name) and found.largest == pytest.approx(0.5, rel=1e-5)


def test_the_first_of_several_is_named_with_its_own_difference(folders: tuple[Path, Path], tmp_path: Path) -> None:
    changes = {"lm_head.weight": ((0, 0), 4.0), "model.layers.0.self_attn.q_proj.weight": ((3, 3), 0.25)}
    found = compare(changed(folders[0], tmp_path / "hf", changes), folders[1])
    assert (found.differing, found.first) == (2, "model.layers.0.self_attn.q_proj.weight")
    assert found.largest == pytest.approx(0.25, rel=1e-5)


def test_not_a_number_is_a_difference(folders: tuple[Path, Path], tmp_path: Path) -> None:
    found = compare(changed(folders[0], tmp_path / "hf", {"model.norm.weight": ((1,), torch.nan)}), folders[1])
    assert (found.differing, found.first, found.largest) == (1, "model.norm.weight", torch.inf)


def test_a_tensor_that_is_not_there_is_no_difference_but_a_mistake(folders: tuple[Path, Path], tmp_path: Path) -> None:
    folder = changed(folders[0], tmp_path / "hf", {})
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"model\.norm\.weight is missing"):
        compare(folder, folders[1])
