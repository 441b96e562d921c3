"""A real model, made once for all tests that want one."""

from pathlib import Path

import pytest

from tests.helpers import smollm2


@pytest.fixture(scope="session")
def smollm2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct as a Hugging Face directory."""
    return smollm2.write(tmp_path_factory.mktemp("smollm2"))
