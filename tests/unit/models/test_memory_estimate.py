"""Against a table that a reader of megatron-core and Transformer Engine counted by hand, and models that are built."""

from typing import Any

import pytest

from megatron_redone.architectures import parse_architecture
from megatron_redone.config.fp8 import Fp8Config
from megatron_redone.config.model import CrossEntropyFusion, ModelConfig, Precision, Recompute
from megatron_redone.config.optimizer import MomentsDtype, OptimizerConfig
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.errors import UserError
from megatron_redone.metrics.flops import parameter_count
from megatron_redone.models.memory_estimate import Load, Memory, estimate_memory
from tests.helpers.qwen2_5 import CONFIGS

PLAIN, FUSED = CrossEntropyFusion.plain, CrossEntropyFusion.te
INTERLEAVED = {"pipeline_model_parallel_size": 2, "virtual_pipeline_model_parallel_size": 4}
# Rows of 4,096 tokens, in GB: weights, gradients, optimizer, activations, logits, the sum, and FP8 copies.
TABLE = [
    ("7b", 2, 8, {}, PLAIN, (7.6, 15.2, 11.4, 9.6, 3.7, 48, 6.5)),
    ("7b", 2, 8, {}, FUSED, (7.6, 15.2, 11.4, 9.6, 0.6, None, 6.5)),
    ("7b", 1, 8, {}, PLAIN, (15.2, 30.5, 11.4, 19.3, 7.5, 84, 13)),
    ("7b", 1, 8, {}, FUSED, (15.2, 30.5, 11.4, 19.3, 1.2, 78, 13)),
    ("7b", 1, 64, {}, PLAIN, (15.2, 30.5, 1.4, 19.3, 7.5, 74, 13)),
    ("7b", 1, 64, {}, FUSED, (15.2, 30.5, 1.4, 19.3, 1.2, 68, 13)),
    ("32b", 4, 64, {}, PLAIN, (16.4, 32.8, 6.1, 16.1, 1.9, 73, 15.6)),
    ("32b", 4, 64, {}, FUSED, (16.4, 32.8, 6.1, 16.1, 0.3, 72, 15.6)),
    ("32b", 4, 64, INTERLEAVED, PLAIN, (8.2, 16.4, 6.1, None, None, None, 7.8)),
    ("32b", 8, 64, {}, PLAIN, (8.2, 16.4, 6.1, 8.1, 0.9, 40, 7.8)),
    ("32b", 8, 8, {}, PLAIN, (8.2, 16.4, 49, 8.1, 0.9, 83, 7.8)),
]


def estimate(model: str, gpus: int = 8, *, optimizer: dict[str, Any] | None = None, micro_batches: int = 128,
             length: int = 4096, compute: dict[str, Any] | None = None, **parallel: Any) -> Memory:  # fmt: skip
    compute = {"precision": Precision.bf16, **(compute or {})}
    return estimate_memory(
        parse_architecture(CONFIGS[model]),
        ModelConfig(**compute),
        ParallelConfig(**parallel),
        OptimizerConfig(**(optimizer or {})),
        Load(gpus=gpus, rows=1, length=length, micro_batches=micro_batches),
    )


@pytest.mark.parametrize(("model", "tensor", "gpus", "more", "loss", "expected"), TABLE)
def test_the_table_is_met_within_five_percent(
    model: str, tensor: int, gpus: int, more: dict[str, Any], loss: CrossEntropyFusion, expected: tuple[Any, ...]
) -> None:
    layout = {"tensor_model_parallel_size": tensor, "sequence_parallel": tensor > 1, **more}
    found = estimate(model, gpus, compute={"cross_entropy_fusion_impl": loss}, **layout)
    in_fp8 = estimate(
        model, gpus, compute={"cross_entropy_fusion_impl": loss, "precision": Precision.fp8}, **layout
    ).fp8_copies
    values = (found.weights, found.gradients, found.optimizer, found.activations, found.logits, found.total, in_fp8)
    for value, wanted in zip(values, expected, strict=True):
        if wanted is not None:
            # A value of one digit is rounded by more than five percent of itself.
            assert value / 1e9 == pytest.approx(wanted, rel=0.05, abs=0.05)
    if more:
        assert 16 <= found.activations / 1e9 <= 22 and 49 * 0.95 <= found.total / 1e9 <= 55


def test_every_parameter_is_counted_once_over_the_ranks() -> None:
    whole = parameter_count(parse_architecture(CONFIGS["7b"]))
    assert estimate("7b").weights == 2 * whole
    assert estimate("7b", optimizer={"moments_dtype": MomentsDtype.bf16}).optimizer == 8 * whole / 8
    assert estimate("7b", optimizer={"optimizer_offload_fraction": 1.0}).optimizer == 0
    assert estimate("7b", use_distributed_optimizer=False).optimizer == 12 * whole


def test_recomputation_keeps_what_it_computes_from() -> None:
    full = estimate("7b", compute={"recompute": Recompute.full}).activations
    some = estimate("7b", compute={"recompute": Recompute.full, "recompute_num_layers": 4}).activations
    mlp = estimate("7b", compute={"recompute": Recompute.selective}).activations
    none = estimate("7b").activations
    assert full < some < none and full < mlp < none
    assert none - mlp == pytest.approx(28 * 4096 * 6 * 18944), "gate, up and their product"
    assert none - some == pytest.approx(none * 3 / 28 - 4 * 4096 * 2 * 3584)


def test_layers_in_bf16_have_no_copy() -> None:
    fp8 = {"precision": Precision.fp8, "fp8": Fp8Config(first_layers_bf16=1, last_layers_bf16=1)}
    all_layers = estimate("7b", compute={"precision": Precision.fp8})
    found = estimate("7b", compute=fp8)
    assert found.fp8_copies == pytest.approx(all_layers.fp8_copies * 26 / 28)
    gathered = {**fp8, "fp8": Fp8Config(first_layers_bf16=1, last_layers_bf16=1, fp8_param_gather=True)}
    assert found.weights - estimate("7b", compute=gathered).weights == pytest.approx(found.fp8_copies)


def test_the_first_stage_of_a_pipeline_runs_ahead() -> None:
    """1F1B: as many micro-batches as stages, so that it holds as much as without a pipeline."""
    one, two = estimate("32b", 64), estimate("32b", 64, pipeline_model_parallel_size=2)
    assert two.activations == pytest.approx(one.activations) and two.stage == 0
    few = estimate("32b", 64, pipeline_model_parallel_size=2, micro_batches=1)
    assert few.activations == pytest.approx(one.activations / 2)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="8 GPUs cannot be shared out by 16"):
        estimate("7b", 8, tensor_model_parallel_size=4, pipeline_model_parallel_size=4)
    with pytest.raises(UserError, match="does not divide the model's 28 attention heads"):
        estimate("7b", 8, tensor_model_parallel_size=8)
