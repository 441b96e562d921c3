"""A Hugging Face directory that is not what its config.json and index say is refused by name."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from megatron_redone.architectures import parse_architecture, read_architecture
from megatron_redone.architectures.weights import full_weights
from megatron_redone.errors import UserError
from megatron_redone.model_folders.hf_reader import HFWeights
from tests.helpers import hf_folders, hf_models

NO_WINDOW = {"sliding_window": None, "layer_types": None}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One file, without an index."""
    model = hf_models.hf_model("qwen2_untied", num_hidden_layers=1)
    model.save_pretrained(tmp_path / "hf")
    return tmp_path / "hf"


def check(folder: Path) -> HFWeights:
    return HFWeights(folder, read_architecture(folder))


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
        ({"lm_head__weight": None}, "lm_head.weight is missing, but tie_word_embeddings is false"),
        ({"model__norm__weight": None, "model__layers__0__self_attn__q_proj__bias": None}, "and 1 more are missing"),
        ({"model__norm__bias": torch.ones(64)}, r"model\.norm\.bias is there, which the model's family does not have"),
        ({"model__norm__weight": torch.ones(65)}, r"model\.norm\.weight is 65, config\.json says 64"),
        ({"model__norm__weight": torch.ones(64, dtype=torch.int8)}, "quantized weights are not supported"),
        (
            {"model__embed_tokens__weight": torch.ones(499, 64)},
            r"is 499 x 64, config.json says 500 x 64 \(vocab_size 500 by hidden_size 64\)",
        ),
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
        ({"num_hidden_layers": 2, "layer_types": None}, "weights hold 1 layers, config.json says num_hidden_layers 2"),
        ({"vocab_size": 501}, "500 x 64, config.json says 501 x 64"),
        ({"num_key_value_heads": 4}, r"k_proj.* is 32 x 64, .* says 64 x 64 \(num_key_value_heads 4 \* head_dim 16 by"),
        ({"tie_word_embeddings": True}, "lm_head.weight differs from model.embed_tokens.weight, .* true"),
        (
            {"model_type": "llama", "architectures": None, **NO_WINDOW},
            "k_proj.bias and 2 more are there, which the model's family does not have",
        ),
        ({"model_type": "qwen3", "architectures": None, "head_dim": 16}, "k_norm.weight and .* missing"),
    ],
)
def test_a_config_that_contradicts_the_weights_is_told(folder: Path, keys: dict, message: str) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, **keys}))
    with pytest.raises(UserError, match=message):
        check(folder)


def test_tables_of_old_versions_mean_nothing(folder: Path) -> None:
    change(folder, **{"model__layers__0__self_attn__rotary_emb__inv_freq": torch.ones(8)})
    check(folder)


def test_parts_are_those_that_safetensors_reads(folder: Path) -> None:
    weights, tensors = check(folder), load_file(folder / "model.safetensors")
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
        assert torch.equal(check(folder).read_rows_of(weight, first, last), expected[first:last])


def test_damaged_indices_and_shards_are_named(tmp_path: Path) -> None:
    folder = hf_folders.write(tmp_path / "hf", "qwen2_tied", num_hidden_layers=1)
    index = folder / "model.safetensors.index.json"
    whole = json.loads(index.read_text())
    names = whole["weight_map"]
    [shared] = [file for file in set(names.values()) if list(names.values()).count(file) > 1][:1]
    name = next(name for name in names if names[name] == shared)
    for content, message in (
        ("{", "not valid JSON"),
        ("[]", "holds no JSON object"),
        ("{}", "not an index of shards"),
        (json.dumps({**whole, "weight_map": {}}), "not an index of shards"),
        (json.dumps({"weight_map": names}), "it has no metadata, without which transformers stops"),
        (with_names(whole, {name: "../" + shared}), "is no name of a shard in the same folder"),
        (with_names(whole, {name: 3}), "3 is no name of a shard"),
        (with_names(whole, {name: "gone.safetensors"}), "gone.safetensors is missing"),
        (with_names(whole, {"absent": shared}), "lacks absent, which the index says is there"),
        (with_names(whole, {}, without=name), f"holds {name}, which the index does not say"),
    ):
        index.write_text(content)
        with pytest.raises(UserError, match=message):
            check(folder)
    index.write_text(json.dumps(whole))
    check(folder)
    (folder / shared).write_bytes((folder / shared).read_bytes()[:-10])
    with pytest.raises(UserError, match="truncated or damaged"):
        check(folder)


def with_names(index: dict, changes: dict, without: str | None = None) -> str:
    names = {name: file for name, file in index["weight_map"].items() if name != without}
    return json.dumps({**index, "weight_map": {**names, **changes}})


def test_one_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    """transformers takes the last, in the order of the files."""
    folder = hf_folders.write(tmp_path / "hf", "qwen2_tied", num_hidden_layers=1)
    first, second, *_ = sorted(folder.glob("model-*.safetensors"))
    tensors, (name, value) = load_file(second), next(iter(load_file(first).items()))
    save_file({**tensors, name: value * 2}, second, {"format": "pt"})
    with pytest.raises(UserError, match=f"holds {name}, which the index does not say"):
        check(folder)


@pytest.mark.parametrize("model", ["qwen2_tied", "qwen2_untied"])
def test_weights_of_the_base_model_alone_are_read(model: str, tmp_path: Path) -> None:
    hf_models.hf_model(model, num_hidden_layers=1).save_pretrained(tmp_path)
    before = {name: check(tmp_path).read(name, 0, 9) for name in check(tmp_path).names()}
    tensors = load_file(tmp_path / "model.safetensors")
    stripped = {name.removeprefix("model."): value for name, value in tensors.items()}
    save_file(stripped, tmp_path / "model.safetensors", {"format": "pt"})
    after = {name: check(tmp_path).read(name, 0, 9) for name in check(tmp_path).names()}
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    mixed = {**stripped, "model.norm.weight": stripped["norm.weight"]}
    del mixed["norm.weight"]
    save_file(mixed, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"embed_tokens\.weight is there, and model\.norm\.weight; either all"):
        check(tmp_path)


def test_a_tied_embedding_is_read_under_either_name_and_both_where_they_are_equal(tmp_path: Path) -> None:
    hf_models.hf_model("qwen2_tied", num_hidden_layers=1).save_pretrained(tmp_path)
    file, name = tmp_path / "model.safetensors", "model.embed_tokens.weight"
    tensors = load_file(file)
    embedding = tensors[name].clone()
    rest = {key: value for key, value in tensors.items() if key != name}
    for held in ({"lm_head.weight": embedding}, {name: embedding, "lm_head.weight": embedding.clone()}):
        save_file({**rest, **held}, file, {"format": "pt"})
        weights = check(tmp_path)
        assert weights.names() == tensors.keys() and torch.equal(weights.read(name, 0, 500), embedding)
    other = embedding.clone()
    other[-1, -1] += 1
    save_file({**rest, name: embedding, "lm_head.weight": other}, file, {"format": "pt"})
    with pytest.raises(UserError, match=r"lm_head\.weight differs from model\.embed_tokens\.weight"):
        check(tmp_path)


def test_weights_of_other_frameworks_are_refused(folder: Path) -> None:
    save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors", {"format": "flax"})
    with pytest.raises(UserError, match="says that 'flax' wrote it"):
        check(folder)
