"""Hugging Face directories into models on several layouts and out again."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from megatron_redone.architectures import read_architecture
from megatron_redone.config.export_hf import ExportHFConfig
from megatron_redone.config.import_hf import ImportHFConfig
from megatron_redone.config.weights_dtype import WeightsDtype
from megatron_redone.stages import export_hf, import_hf
from tests.helpers import hf_folders
from tests.helpers.conversion_runs import differences, save_untrained
from tests.helpers.pretrain_runs import VOCAB, figures, pretrain, write_inputs
from tests.helpers.ranks import run_on_ranks
from tests.helpers.runs import random_rows

pytestmark = pytest.mark.distributed

TP2_PP2 = {"tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 2}
LAYOUTS: dict[str, tuple[int, dict[str, Any]]] = {
    "one": (1, {}),
    "tp2": (2, {"tensor_model_parallel_size": 2}),
    "pp2": (2, {"pipeline_model_parallel_size": 2}),
    "tp2_pp2_virtual": (4, {**TP2_PP2, "virtual_pipeline_model_parallel_size": 2}),
}
LOGIT_MODELS = ("qwen2_tied", "qwen2_untied", "llama3_scaled", "qwen3")
# Heads that four ranks can share; the vocabularies of Qwen2.5, which tensor parallelism pads differently.
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    **{model: (model, {"num_key_value_heads": 4}) for model in (*LOGIT_MODELS, "mistral")},
    "qwen2_5_small": ("qwen2_tied", {"vocab_size": 151936, "tie_word_embeddings": True}),
    "qwen2_5_large": ("qwen2_tied", {"vocab_size": 152064, "tie_word_embeddings": False}),
}
NARROW = {"num_key_value_heads": 4, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [hf_folders.write(folder / model, model) for model in LOGIT_MODELS]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("shapes")
    return [
        hf_folders.write(folder / name, model, torch.bfloat16, **(NARROW | own if "vocab_size" in own else own))
        for name, (model, own) in SHAPES.items()
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_equal_transformers(layout: str, models: list[Path]) -> None:
    batches = [random_rows(1, 64, 500, seed) for seed in range(2)]
    expected = []
    for folder in models:
        theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa")
        with torch.no_grad():
            expected.append([theirs(batch.tokens).logits for batch in batches])
    world_size, parallel = LAYOUTS[layout]
    found = run_on_ranks(world_size, differences, models, parallel, batches, expected)[0]
    limit = 1e-5 if layout == "one" else 1e-4
    assert max(found) < limit, dict(zip(LOGIT_MODELS, found, strict=True))


@pytest.mark.parametrize("tensor_ranks", [1, 2, 4])
def test_in_and_out_without_training_is_bit_equal(tensor_ranks: int, shapes: list[Path], tmp_path: Path) -> None:
    checkpoints = [tmp_path / folder.name / "checkpoint" for folder in shapes]
    run_on_ranks(tensor_ranks, save_untrained, shapes, {"tensor_model_parallel_size": tensor_ranks}, checkpoints)
    for folder, checkpoint in zip(shapes, checkpoints, strict=True):
        out = checkpoint.parent / "out"
        export_hf.run(ExportHFConfig(checkpoint=str(checkpoint), output=str(out), dtype=WeightsDtype.bf16))
        hf_folders.assert_same(hf_folders.tensors(folder), hf_folders.tensors(out))


def train(world_size: int, output: Path, keys: list[str]) -> Path:
    answers = run_on_ranks(world_size, pretrain, [*keys, f"output_dir={output}"], timeout=120)
    assert {code for code, _ in answers} == {0}, answers[0][1]
    return output


def test_five_steps_from_a_hugging_face_directory(tmp_path: Path) -> None:
    """On two layouts, and from the explicit import: the same figures, and the same exported weights."""
    hf = hf_folders.write(tmp_path / "hf", "qwen2_tied", vocab_size=VOCAB)
    for file in hf.glob("*token*"):
        file.unlink()
    import_hf.run(ImportHFConfig(hf=str(hf), output=str(tmp_path / "imported")))
    keys = [*write_inputs(tmp_path), "training.train_steps=5", "optimizer.lr=1e-4", "model.hf_config=null"]
    layout = [f"parallel.{name}={size}" for name, size in TP2_PP2.items()]
    one = train(1, tmp_path / "one", [*keys, f"init_from={hf}"])
    two = train(4, tmp_path / "two", [*keys, *layout, f"init_from={hf}"])
    three = train(2, tmp_path / "three", [*keys, f"init_from={tmp_path}/imported", layout[0]])
    exported = []
    for run in (one, two, three):
        assert figures(run) == pytest.approx(figures(one), rel=1e-5)
        export_hf.run(ExportHFConfig(checkpoint=str(run), output=str(run / "hf")))
        exported.append(hf_folders.tensors(run / "hf"))
    moved = max(float((exported[0][name] - value).abs().max()) for name, value in hf_folders.tensors(hf).items())
    assert moved > 1e-4, "the steps changed nothing"
    for other in exported[1:]:
        hf_folders.assert_same(exported[0], other, tolerance=1e-5)
    assert read_architecture(one / "hf") == read_architecture(hf)
