"""A model whose weights are not numbers is evaluated like any other, and as often as one likes."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from megatron_redone.cli import main
from tests.helpers import chat_models


@pytest.fixture
def keys(tmp_path: Path) -> list[str]:
    model = chat_models.write(tmp_path / "model", num_hidden_layers=1)
    [weights] = model.glob("*.safetensors")
    tensors = load_file(weights)
    tensors["model.norm.weight"].fill_(float("nan"))
    save_file(tensors, weights, {"format": "pt"})
    pairs = [{"prompt": f"Why {n}?", "chosen": "Because.", "rejected": "No."} for n in range(3)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (tmp_path / "posts.jsonl").write_text('{"text": "a day at the sea"}\n{"text": "and one on land"}\n')
    return [f"output={tmp_path}/out", f"models=[{{path: {model}}}]", "device=cpu", "dtype=fp32",
            f"preferences=[{{path: {tmp_path}/pairs.jsonl}}]", "bootstrap.resamples=100",
            f"held_out=[{{path: {tmp_path}/posts.jsonl, group: social}}]"]  # fmt: skip


def test_again_and_from_what_is_kept(keys: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *keys]) == 0
    first = capsys.readouterr().out
    tables = (tmp_path / "out" / "evaluation.md").read_bytes()
    assert main(["evaluate", *keys]) == 0
    assert capsys.readouterr().out == first
    (tmp_path / "out" / "evaluation.json").unlink()
    assert main(["evaluate", *keys]) == 0
    assert (tmp_path / "out" / "evaluation.md").read_bytes() == tables
