"""A small chat model, loaded as an evaluation does."""

from pathlib import Path

import pytest

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
    return chat_models.write(tmp_path_factory.mktemp("chat"))


@pytest.fixture(scope="session")
def chat_model(chat_folder: Path) -> LoadedModel:
    return load_model(str(chat_folder), choose_placement(Device.cpu, ComputeDtype.fp32))
