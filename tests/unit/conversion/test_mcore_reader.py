"""Rows that are read from a checkpoint are those of the weights, however ranks cut them; damage is named."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint import FileSystemWriter, save

from megatron_redone.architectures.weights import full_weights
from megatron_redone.config.import_hf import ImportHFConfig
from megatron_redone.conversion.mcore_reader import CheckpointWeights
from megatron_redone.errors import UserError
from megatron_redone.stages import import_hf
from tests.helpers import hf_models


@pytest.fixture(scope="module")
def expected() -> dict[str, torch.Tensor]:
    model = hf_models.hf_model("qwen3", num_hidden_layers=2)
    return hf_models.full_weights(model, hf_models.architecture("qwen3", num_hidden_layers=2))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    hf_models.hf_model("qwen3", num_hidden_layers=2).save_pretrained(tmp_path / "hf")
    import_hf.run(ImportHFConfig(hf=str(tmp_path / "hf"), output=str(tmp_path / "ck")))
    return tmp_path / "ck"


def test_any_rows_are_those_of_the_weights(checkpoint: Path, expected: dict[str, torch.Tensor]) -> None:
    weights = CheckpointWeights(checkpoint)
    weights.check(full_weights(hf_models.architecture("qwen3", num_hidden_layers=2)))
    assert set(weights.keys()) == set(expected)
    for key, tensor in expected.items():
        rows = len(tensor)
        for first, last in ((0, rows), (1, rows - 1), (rows - 1, rows)):
            assert torch.equal(weights.read(key, first, last), tensor[first:last]), key
        assert weights.dtype(key) is tensor.dtype


def test_layers_of_one_name_each_and_what_is_no_weight(tmp_path: Path) -> None:
    """As torch itself writes a state: no layers on top of each other, and entries that are passed over."""
    generator = torch.Generator().manual_seed(0)
    key = "decoder.layers.1.mlp.linear_fc2.weight"
    state: dict[str, Any] = {
        key: torch.randn(6, 4, generator=generator),
        "decoder.final_layernorm.weight": torch.randn(5, generator=generator),
        "optimizer.state.exp_avg": torch.zeros(3),
        "decoder.layers.0._extra_state": torch.zeros(3),
    }
    save(state, storage_writer=FileSystemWriter(tmp_path / "ck"), no_dist=True)
    weights = CheckpointWeights(tmp_path / "ck")
    assert set(weights.keys()) == {key, "decoder.final_layernorm.weight"}
    assert torch.equal(weights.read(key, 2, 5), state[key][2:5])
    assert torch.equal(
        weights.read("decoder.final_layernorm.weight", 1, 4), state["decoder.final_layernorm.weight"][1:4]
    )


def test_damaged_files_are_named(checkpoint: Path) -> None:
    weights = CheckpointWeights(checkpoint)
    file = checkpoint / "__0_0.distcp"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=rf"{file.name}: (missing, )?truncated"):
        for key in sorted(weights.keys()):
            weights.read(key, 0, 1)
    file.unlink()
    with pytest.raises(UserError, match=rf"{file.name}: missing, truncated or damaged"):
        weights.read("decoder.final_layernorm.weight", 0, 1)
    with pytest.raises(UserError):
        CheckpointWeights(checkpoint.parent / "hf")


def test_a_checkpoint_of_another_model_is_refused(checkpoint: Path) -> None:
    weights = CheckpointWeights(checkpoint)
    for changes, message in (
        ({"num_hidden_layers": 3}, r"decoder\.layers\.2\..* is missing"),
        ({"num_hidden_layers": 1}, r"holds decoder\.layers\.1\..* no Hugging Face tensor"),
        ({"num_hidden_layers": 2, "intermediate_size": 64}, r"is .*config\.json says"),
        ({"num_hidden_layers": 2, "vocab_size": 600}, r"word_embeddings\.weight is .*config\.json says"),
    ):
        with pytest.raises(UserError, match=message):
            weights.check(full_weights(hf_models.architecture("qwen3", **changes)))
