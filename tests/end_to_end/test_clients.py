"""An export as transformers 4.57 reads it, where tests/clients.sh has made its environment; what a comparison sees."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.clients import compare, tokenizers_of_families
from tests.helpers import hf_folders
from tests.helpers.round_trips import convert

CLIENTS = Path(os.environ.get("REDONE_CLIENTS", Path(__file__).parents[2] / ".clients")) / "environments"


@pytest.mark.parametrize("client", ["transformers-4.45", "transformers-4.57"])
def test_an_export_is_the_same_model_to_transformers_4(client: str, tmp_path: Path) -> None:
    python = CLIENTS / client / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"no {python}; `bash tests/clients.sh` makes it")
    source = hf_folders.write(tmp_path / "hf", "llama3_scaled")
    for file in tokenizers_of_families.write(tmp_path / "tokenizer", "llama3").iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    out, inputs = convert(source, tmp_path), compare.write_inputs(tmp_path / "inputs.json")
    newest, older = (compare.ask(str(path), [out], inputs)[str(out)] for path in (sys.executable, python))
    assert "error" not in newest and compare.difference(newest, older) is None


LOGITS = np.full((3, 4), 2.0, np.float32)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"logits": LOGITS + 1e-5, "eos": [2]}, None),
        ({"logits": LOGITS + 5e-5}, "logits differ by 5.0e-05"),
        ({"logits": LOGITS, "eos": 2, "greedy": [1]}, "greedy, eos differ"),
        ({"greedy": [1, 2]}, None),
        ({"error": "it stopped"}, "it stopped"),
    ],
)
def test_differences_are_seen(found: dict[str, Any], expected: str | None) -> None:
    assert compare.difference({"logits": LOGITS, "eos": [2], "greedy": [1, 2]}, found) == expected


def test_only_a_family_that_a_client_does_not_have_is_left_out() -> None:
    assert compare.is_unknown({"error": "ValueError: Transformers does not recognize this architecture"})
    assert not compare.is_unknown({"error": "ValueError: Tokenizer class TokenizersBackend does not exist"})
    assert not compare.is_unknown({"greedy": []})
