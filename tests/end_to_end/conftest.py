"""A real model, made once for all tests that want one."""

import os
from pathlib import Path

import pytest
from filelock import FileLock

from tests.helpers import smollm2


@pytest.fixture(scope="session")
def smollm2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct as a Hugging Face directory; processes of pytest-xdist share it."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "smollm2"
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            folder.mkdir(exist_ok=True)
            smollm2.write(folder)
            (folder / "done").touch()
    return folder / "hf"
