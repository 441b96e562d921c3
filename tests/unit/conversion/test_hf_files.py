"""The files beside the weights: as they came, with the type and the end tokens put right."""

import json
from pathlib import Path

import pytest
import torch

from megatron_redone.config.weights_dtype import WeightsDtype
from megatron_redone.conversion.hf_files import write_hf_files
from megatron_redone.errors import UserError
from tests.helpers import hf_folders, small_tokenizer
from tests.helpers.round_trips import convert


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hf_folders.write(tmp_path_factory.mktemp("models") / "hf", "qwen2_untied")


def test_the_type_is_chosen_and_end_tokens_are_added(source: Path, tmp_path: Path) -> None:
    out = convert(source, tmp_path, dtype=WeightsDtype.bf16, end_tokens=["<|im_end|>"])
    expected = {name: tensor.bfloat16() for name, tensor in hf_folders.tensors(source).items()}
    hf_folders.assert_same(expected, hf_folders.tensors(out))
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
    added = json.loads((source / "tokenizer.json").read_text())["added_tokens"]
    im_end = next(token["id"] for token in added if token["content"] == "<|im_end|>")
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == [2, 5, im_end]


def write(folder: Path, config: dict, generation: dict | None = None) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    (folder / "notes.txt").write_text("of no model")
    return folder


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_the_type_is_written_under_the_name_that_the_file_uses(key: str, tmp_path: Path) -> None:
    config = {"model_type": "llama", key: "float32", "eos_token_id": 7, "bos_token_id": 1}
    source, output = write(tmp_path / "in", config), tmp_path / "out"
    output.mkdir()
    write_hf_files(source, output, torch.bfloat16, [])
    assert json.loads((output / "config.json").read_text()) == {**config, key: "bfloat16"}
    # A model without the file has its end tokens in config.json, and generation would not look there.
    assert json.loads((output / "generation_config.json").read_text()) == {"eos_token_id": 7, "bos_token_id": 1}
    assert sorted(file.name for file in output.iterdir()) == ["config.json", "generation_config.json"]


def test_what_needs_no_change_has_the_same_bytes(tmp_path: Path) -> None:
    source = write(tmp_path / "in", {"dtype": "float16"}, {"eos_token_id": [2], "top_k": 5})
    (tmp_path / "out").mkdir()
    write_hf_files(source, tmp_path / "out", torch.float16, [])
    for name in ("config.json", "generation_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()


def test_end_tokens_are_added_once_and_have_to_be_known(tmp_path: Path) -> None:
    source = small_tokenizer.train(write(tmp_path / "in", {"dtype": "float32"}, {"eos_token_id": 0}))
    number = small_tokenizer.load(source).token_id("<|im_end|>")
    (tmp_path / "out").mkdir()
    write_hf_files(source, tmp_path / "out", torch.float32, ["<|im_end|>", "<|im_end|>"])
    assert json.loads((tmp_path / "out/generation_config.json").read_text())["eos_token_id"] == [0, number]
    with pytest.raises(UserError, match="end_tokens: '<nope>' is not in the model's vocabulary"):
        write_hf_files(source, tmp_path / "out", torch.float32, ["<nope>"])
