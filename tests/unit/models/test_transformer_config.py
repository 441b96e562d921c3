"""Sizes are those of transformers' model, and what a backend or device cannot do is refused."""

from typing import Any

import pytest
import torch

from megatron_redone.config.fp8 import Fp8Config
from megatron_redone.config.model import Backend, CrossEntropyFusion, ModelConfig, Precision, Recompute
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.errors import UserError
from megatron_redone.models.transformer_config import transformer_config
from tests.helpers import hf_models


def build(model: str, compute: ModelConfig, device: str = "cpu", **parallel: Any) -> Any:
    return transformer_config(
        hf_models.architecture(model), compute, ParallelConfig(**parallel), Backend.torch, torch.device(device)
    )


@pytest.mark.parametrize("model", hf_models.MODELS)
def test_sizes_are_those_of_transformers(model: str) -> None:
    theirs = hf_models.hf_model(model, num_hidden_layers=4).model.layers
    ours = build(model, ModelConfig(precision=Precision.bf16))
    attention, mlp = theirs[0].self_attn, theirs[0].mlp
    assert ours.num_layers == len(theirs) and ours.ffn_hidden_size == mlp.gate_proj.out_features
    assert ours.num_attention_heads * ours.kv_channels == attention.q_proj.out_features
    assert ours.num_query_groups * ours.kv_channels == attention.k_proj.out_features
    assert ours.add_qkv_bias == (attention.k_proj.bias is not None) and not ours.add_bias_linear
    assert ours.layernorm_epsilon == theirs[0].input_layernorm.variance_epsilon
    assert ours.qk_layernorm == hasattr(attention, "q_norm") and ours.params_dtype is torch.bfloat16


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"cross_entropy_fusion_impl": CrossEntropyFusion.native}, "native needs a CUDA device; take plain"),
        ({"recompute": Recompute.full, "recompute_num_layers": 5}, "5 is more than the 4 layers"),
    ],
)
def test_what_cannot_be_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build("qwen3", ModelConfig(**keys))


def test_what_needs_transformer_engine_is_refused_without_it() -> None:
    sizes = {"tensor_model_parallel_size": 2, "sequence_parallel": True}
    with pytest.raises(UserError, match="tp_comm_overlap: needs backend=transformer_engine"):
        build("qwen3", ModelConfig(), tp_comm_overlap=True, **sizes)
    fused = {"cross_entropy_fusion_impl": CrossEntropyFusion.te}
    with pytest.raises(UserError, match="te needs backend=transformer_engine"):
        build("qwen3", ModelConfig(**fused), device="cuda")
    with pytest.raises(UserError, match="native rounds gradients to bf16"):
        build(
            "qwen3",
            ModelConfig(cross_entropy_fusion_impl=CrossEntropyFusion.native, precision=Precision.fp32),
            device="cuda",
        )


@pytest.mark.parametrize(
    ("device", "precision", "expected"),
    [("cuda", Precision.bf16, "native"), ("cuda", Precision.fp32, None), ("cpu", Precision.bf16, None)],
)
def test_the_fused_loss_is_taken_where_it_runs(device: str, precision: Precision, expected: str | None) -> None:
    ours = build("qwen3", ModelConfig(precision=precision), device=device)
    assert (ours.cross_entropy_fusion_impl if ours.cross_entropy_loss_fusion else None) == expected


def test_recomputation_is_what_was_asked_for() -> None:
    plain, whole = (build("qwen3", ModelConfig(recompute=choice)) for choice in (Recompute.none, Recompute.full))
    assert plain.recompute_granularity is None
    assert (whole.recompute_granularity, whole.recompute_method, whole.recompute_num_layers) == ("full", "uniform", 1)
    some = build("qwen3", ModelConfig(recompute=Recompute.full, recompute_num_layers=2), pipeline_model_parallel_size=2)
    assert (some.recompute_method, some.recompute_num_layers) == ("block", 2)


def test_the_emulation_of_fp8_is_not_megatron_cores_business() -> None:
    ours = build("qwen3", ModelConfig(precision=Precision.fp8_emulated, fp8=Fp8Config(margin=1)))
    assert ours.fp8 is None and ours.params_dtype is torch.bfloat16
