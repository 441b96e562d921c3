"""Names of types are those of the safetensors library and of transformers."""

import json

import pytest
import torch
from safetensors.torch import save
from transformers import PretrainedConfig

from megatron_redone.model_folders.dtypes import DTYPES, SAFETENSORS_NAMES, WEIGHT_DTYPES, config_name


@pytest.mark.parametrize("dtype", SAFETENSORS_NAMES)
def test_names_are_those_in_a_file(dtype: torch.dtype) -> None:
    content = save({"a": torch.zeros(2).to(dtype)})
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert SAFETENSORS_NAMES[dtype] == header["a"]["dtype"] and DTYPES[header["a"]["dtype"]] is dtype


@pytest.mark.parametrize("dtype", WEIGHT_DTYPES)
def test_a_config_json_names_them_as_transformers_does(dtype: torch.dtype) -> None:
    assert PretrainedConfig(dtype=dtype).to_dict()["dtype"] == config_name(dtype)
