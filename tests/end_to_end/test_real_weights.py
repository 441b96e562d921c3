"""Real weights: SmolLM2-135M-Instruct on real text against transformers, from the command line."""

import re
from pathlib import Path

import pytest

from tests.helpers import commands, hf_folders, shared_data

pytestmark = pytest.mark.distributed

_PERPLEXITY = re.compile(r"perplexity: (\S+) with transformers, (\S+) here")


def redone(*arguments: str, ranks: int = 1) -> str:
    words = commands.under_torchrun(ranks, *arguments) if ranks > 1 else commands.command(*arguments)
    done = commands.to_its_end(words, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("stages", [1, 3])
def test_smollm2_equals_transformers(stages: int, smollm2_folder: Path) -> None:
    keys = [
        "device=cpu",
        f"hf={smollm2_folder}",
        "seq_length=128",
        "rows=3",
        f"tolerance={1e-5 if stages == 1 else 1e-4}",
    ]
    if shared_data.FOLDER.is_dir():
        keys.append(f"text={shared_data.FOLDER}/general/wikitext2_valid.txt")
    said = redone("verify", *keys, f"parallel.pipeline_model_parallel_size={stages}", ranks=stages)
    match = _PERPLEXITY.search(said)
    assert match is not None, said
    theirs, ours = float(match[1]), float(match[2])
    assert ours == pytest.approx(theirs, rel=1e-5) and 1 < ours < 100


def test_import_verify_and_export(tmp_path: Path) -> None:
    """A directory goes in, `verify` finds it equal, and it comes out the same; then a weight is changed."""
    hf = hf_folders.write(tmp_path / "hf", "qwen3")
    redone("import-hf", f"hf={hf}", f"output={tmp_path}/checkpoint")
    layout = ["parallel.tensor_model_parallel_size=2", "seq_length=64", "rows=2", "device=cpu", "tolerance=1e-4"]
    said = redone("verify", f"hf={hf}", f"checkpoint={tmp_path}/checkpoint", *layout, ranks=2)
    assert "weights: all 46 tensors are equal" in said
    redone("export-hf", f"checkpoint={tmp_path}/checkpoint", f"output={tmp_path}/out")
    hf_folders.assert_same(hf_folders.tensors(hf), hf_folders.tensors(tmp_path / "out"))
    other = hf_folders.write(tmp_path / "other", "qwen3", seed=1)
    said = redone("verify", f"hf={other}", f"checkpoint={tmp_path}/checkpoint", "seq_length=64", "device=cpu")
    assert "tensors differ, first model.embed_tokens.weight" in said
