"""Hugging Face directories of small random models, with a tokenizer."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.helpers import hf_models, small_tokenizer


def write(folder: Path, model: str, dtype: torch.dtype = torch.float32, **changes: Any) -> Path:
    """What `save_pretrained` writes, in several shards, with two end tokens and a chat template."""
    theirs = hf_models.hf_model(model, **changes).to(dtype)
    theirs.generation_config.eos_token_id = [2, 5]
    theirs.save_pretrained(folder, max_shard_size="100KB")
    small_tokenizer.train(folder)
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return folder


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All weights of a directory."""
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float | None = None) -> None:
    """The same keys, types and numbers; bit by bit, or within a tolerance."""
    assert one.keys() == other.keys(), one.keys() ^ other.keys()
    for name, value in one.items():
        assert value.dtype == other[name].dtype, name
        if tolerance is None:
            assert torch.equal(value, other[name]), name
        else:
            torch.testing.assert_close(value, other[name], rtol=0, atol=tolerance, msg=name)
