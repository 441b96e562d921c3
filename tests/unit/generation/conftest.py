"""A small chat model and one thread for it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from megatron_redone.config.evaluate import ComputeDtype
from megatron_redone.config.parallel import Device
from megatron_redone.generation.hf_model import LoadedModel, load_model
from megatron_redone.generation.placement import choose_placement
from tests.helpers import chat_models


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """All tests of this folder."""


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_models.write(tmp_path_factory.mktemp("chat"), num_hidden_layers=1)


@pytest.fixture(scope="session")
def chat_model(chat_folder: Path) -> LoadedModel:
    return load_model(str(chat_folder), choose_placement(Device.cpu, ComputeDtype.fp32))


@pytest.fixture(scope="session")
def theirs(chat_folder: Path) -> Any:
    """The same, as transformers loads it."""
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(chat_folder, dtype=torch.float32).eval()
