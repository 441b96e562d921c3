"""Real text and tokenizers that lie beside the repository; tests that need them skip where they are not."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("REDONE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
TOKENIZER = FOLDER / "tokenizer"

needs_shared_data = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no real text at {FOLDER}; set REDONE_TEST_DATA to a folder that has it"
)
