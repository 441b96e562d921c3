"""The files beside the weights: as they came, with the type and the end tokens put right."""

import json
from pathlib import Path

import pytest
import torch

from megatron_redone.architectures import read_architecture
from megatron_redone.config.bf16_rounding import Bf16Rounding
from megatron_redone.config.weights_dtype import WeightsDtype
from megatron_redone.conversion import hf_files
from megatron_redone.errors import UserError
from tests.helpers import hf_folders, small_tokenizer
from tests.helpers.round_trips import convert


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hf_folders.write(tmp_path_factory.mktemp("models") / "hf", "qwen2_untied")


def test_the_type_is_chosen_and_end_tokens_are_added(source: Path, tmp_path: Path) -> None:
    keys = {"dtype": WeightsDtype.bf16, "rounding": Bf16Rounding.nearest}
    out = convert(source, tmp_path, **keys, end_tokens=["<|im_end|>"])
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


def write_hf_files(source: Path, output: Path, dtype: torch.dtype, end_tokens: list[str]) -> None:
    output.mkdir(exist_ok=True)
    hf_files.write_hf_files(source, output, read_architecture(source), dtype, end_tokens)


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_the_type_is_written_under_both_names(key: str, tmp_path: Path) -> None:
    config = {"model_type": "llama", key: "float32", "eos_token_id": 7, "bos_token_id": 1}
    source, output = write(tmp_path / "in", config), tmp_path / "out"
    write_hf_files(source, output, torch.bfloat16, [])
    found = json.loads((output / "config.json").read_text())
    assert found == {**found, **config, "dtype": "bfloat16", "torch_dtype": "bfloat16"}
    # A model without the file has its end tokens in config.json, and generation would not look there.
    assert json.loads((output / "generation_config.json").read_text()) == {"eos_token_id": 7, "bos_token_id": 1}
    assert sorted(file.name for file in output.iterdir()) == ["config.json", "generation_config.json"]


def test_what_needs_no_change_has_the_same_bytes(tmp_path: Path) -> None:
    source = write(tmp_path / "in", {"model_type": "llama"}, {"eos_token_id": [2], "top_k": 5})
    write_hf_files(source, tmp_path / "out", torch.float16, [])
    write_hf_files(tmp_path / "out", tmp_path / "again", torch.float16, [])
    for before, after in ((source, tmp_path / "out"), (tmp_path / "out", tmp_path / "again")):
        assert (after / "generation_config.json").read_bytes() == (before / "generation_config.json").read_bytes()
    assert (tmp_path / "again/config.json").read_bytes() == (tmp_path / "out/config.json").read_bytes()


def test_everything_that_transformers_reads_travels_and_nothing_else(tmp_path: Path) -> None:
    source = write(tmp_path / "in", {"model_type": "llama"})
    travel = [
        *("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json", "chat_template.json"),
        *("chat_template.jinja", "additional_chat_templates/tool_use.jinja", "special_tokens_map.json", "tekken.json"),
    ]
    stay = [
        *("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "adapter_config.json"),
        *("adapter_model.safetensors", "modeling_mine.py", "additional_chat_templates/run.py", "README.md"),
    ]
    (source / "additional_chat_templates").mkdir()
    for name in (*travel, *stay):
        (source / name).write_text("{}")
    write_hf_files(source, tmp_path / "out", torch.float16, [])
    found = {str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert found == {"config.json", "generation_config.json", *travel}
    assert all((tmp_path / "out" / name).read_text() == "{}" for name in travel)


def test_end_tokens_are_added_once_and_have_to_be_known(tmp_path: Path) -> None:
    source = small_tokenizer.train(write(tmp_path / "in", {"model_type": "llama"}, {"eos_token_id": 0}))
    number = small_tokenizer.load(source).token_id("<|im_end|>")
    write_hf_files(source, tmp_path / "out", torch.float32, ["<|im_end|>", "<|im_end|>"])
    assert json.loads((tmp_path / "out/generation_config.json").read_text())["eos_token_id"] == [0, number]
    with pytest.raises(UserError, match="end_tokens: '<nope>' is not in the model's vocabulary"):
        write_hf_files(source, tmp_path / "out", torch.float32, ["<nope>"])
