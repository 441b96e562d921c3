"""A Hugging Face directory that is not what its config.json and index say is refused by name."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from megatron_redone.architectures import parse_architecture, read_architecture
from megatron_redone.architectures.weights import full_weights
from megatron_redone.conversion.hf_reader import HFWeights
from megatron_redone.errors import UserError
from tests.helpers import hf_folders, hf_models


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One file, without an index."""
    model = hf_models.hf_model("qwen2_untied", num_hidden_layers=1)
    model.save_pretrained(tmp_path / "hf")
    return tmp_path / "hf"


def check(folder: Path) -> None:
    HFWeights(folder).check(full_weights(read_architecture(folder)))


def change(folder: Path, **tensors: torch.Tensor | None) -> None:
    """Adds tensors, or removes those that are None; `__` stands for a dot."""
    content = load_file(folder / "model.safetensors")
    for name, value in tensors.items():
        key = name.replace("__", ".")
        content.pop(key, None)
        if value is not None:
            content[key] = value
    save_file(content, folder / "model.safetensors")


def test_the_whole_directory_passes(folder: Path) -> None:
    check(folder)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"model__norm__weight": None}, r"model\.norm\.weight is missing"),
        ({"model__norm__weight": None, "lm_head__weight": None}, "and 1 more are missing"),
        ({"model__norm__bias": torch.ones(64)}, r"model\.norm\.bias is there, which the model's family does not have"),
        ({"model__norm__weight": torch.ones(65)}, r"model\.norm\.weight is 65, config\.json says 64"),
        ({"model__norm__weight": torch.ones(64, dtype=torch.int8)}, "quantized weights are not supported"),
        ({"model__embed_tokens__weight": torch.ones(499, 64)}, "is 499 x 64, config.json says 500 x 64"),
    ],
)
def test_weights_that_contradict_the_config_are_named(
    folder: Path, tensors: dict[str, torch.Tensor | None], message: str
) -> None:
    change(folder, **tensors)
    with pytest.raises(UserError, match=message):
        check(folder)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"num_hidden_layers": 2}, "layers.1.* is missing|more are missing"),
        ({"vocab_size": 501}, "500 x 64, config.json says 501 x 64"),
        ({"num_key_value_heads": 4}, "k_proj.* is .*config.json says"),
        ({"tie_word_embeddings": True}, None),  # a copy of the embedding means nothing
        ({"model_type": "llama"}, "k_proj.bias and 2 more are there, which the model's family does not have"),
        ({"model_type": "qwen3", "head_dim": 16}, "q_norm.weight and .* missing"),
    ],
)
def test_a_config_that_contradicts_the_weights_is_told(folder: Path, keys: dict, message: str | None) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, **keys}))
    if message is None:
        check(folder)
        return
    with pytest.raises(UserError, match=message):
        check(folder)


def test_tables_of_old_versions_mean_nothing(folder: Path) -> None:
    change(folder, **{"model__layers__0__self_attn__rotary_emb__inv_freq": torch.ones(8)})
    check(folder)


def test_parts_are_those_that_safetensors_reads(folder: Path) -> None:
    weights, tensors = HFWeights(folder), load_file(folder / "model.safetensors")
    name = "model.layers.0.self_attn.o_proj.weight"
    assert torch.equal(weights.read(name, 3, 9), tensors[name][3:9])
    assert torch.equal(weights.read_columns(name, 3, 9), tensors[name][:, 3:9])
    assert weights.names() == tensors.keys() and weights.dtype(name) is torch.float32


def test_rows_of_a_full_weight_come_from_several_tensors(folder: Path) -> None:
    architecture = parse_architecture(json.loads((folder / "config.json").read_text()))
    weight = full_weights(architecture)["decoder.layers.0.self_attention.linear_qkv.weight"]
    hf_model = hf_models.hf_model("qwen2_untied", num_hidden_layers=1)
    expected = hf_models.full_weights(hf_model, architecture)[weight.key]
    for first, last in ((0, weight.rows), (10, 90), (40, 41)):
        assert torch.equal(HFWeights(folder).read_rows_of(weight, first, last), expected[first:last])


def test_damaged_indices_and_shards_are_named(tmp_path: Path) -> None:
    folder = hf_folders.write(tmp_path / "hf", "qwen2_tied", num_hidden_layers=1)
    index = folder / "model.safetensors.index.json"
    whole = json.loads(index.read_text())
    name, first = next(iter(whole["weight_map"].items()))
    for content, message in (
        ("{", "not an index of shards"),
        ("[]", "not an index of shards"),
        (json.dumps({"weight_map": {name: "../" + first}}), None),  # a name, not a way out of the folder
        (json.dumps({"weight_map": {name: "gone.safetensors"}}), "the shard gone.safetensors is missing"),
        (json.dumps({"weight_map": {"absent": first}}), "lacks absent, which the index says is there"),
    ):
        index.write_text(content)
        if message is None:
            assert all(entry.file.parent == folder for entry in HFWeights(folder)._entries.values())
            continue
        with pytest.raises(UserError, match=message):
            HFWeights(folder)
    index.write_text(json.dumps(whole))
    (folder / first).write_bytes((folder / first).read_bytes()[:-10])
    with pytest.raises(UserError, match="truncated or damaged"):
        HFWeights(folder)
