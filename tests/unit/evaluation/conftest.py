"""A small chat model, loaded as an evaluation does."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from megatron_redone.config.evaluate import ComputeDtype, EvaluatedModel
from megatron_redone.config.parallel import Device
from megatron_redone.generation.hf_model import LoadedModel, load_model, placement
from tests.helpers import chat_models


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads cost more than they bring on models this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_models.write(tmp_path_factory.mktemp("chat"))


@pytest.fixture(scope="session")
def chat_model(chat_folder: Path) -> LoadedModel:
    return load_model(EvaluatedModel(path=str(chat_folder)), placement(Device.cpu, ComputeDtype.fp32))
