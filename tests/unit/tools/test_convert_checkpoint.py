"""The script for people who come from Megatron-LM."""

from pathlib import Path

import pytest

from tests.helpers import hf_folders
from tools.convert_checkpoint import main


def test_in_and_out(tmp_path: Path) -> None:
    hf = hf_folders.write(tmp_path / "hf", "qwen3")
    flags = ["--model-type", "GPT", "--loader", "llama_mistral", "--checkpoint-type", "hf", "--saver", "core"]
    assert main([*flags, "--load-dir", str(hf), "--save-dir", str(tmp_path / "core")]) == 0
    assert (tmp_path / "core/latest_checkpointed_iteration.txt").read_text().strip() == "release"
    back = ["--loader", "core", "--saver", "hf", "--load-dir", str(tmp_path / "core")]
    assert main([*back, "--save-dir", str(tmp_path / "out")]) == 0
    hf_folders.assert_same(hf_folders.tensors(hf), hf_folders.tensors(tmp_path / "out"))


def test_flags_that_mean_nothing_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--loader", "core", "--saver", "hf", "--load-dir", "a", "--save-dir", str(tmp_path / "out")]
    assert main([*flags, "--target-tensor-parallel-size", "2"]) == 2
    assert "loads on any layout" in capsys.readouterr().err
